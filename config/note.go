package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Note explains one line of a file.
type Note struct {
	File   string
	Line   int // from 1; 0 where no line can be named
	Key    string
	Value  string // as written; secrets are masked
	Status Status
	// Effective is the value the server runs with, empty when the line has no effect.
	Effective string
	Text      string // one sentence
	// Warn marks what an operator should look at.
	Warn bool
}

// String is the note as one line of a log.
func (n Note) String() string { return place(n.File, n.Line, n.Key, n.Value) + n.Text }

// Error is a reason not to start. It prints as one line.
type Error struct {
	File  string
	Line  int    // from 1; 0 if the whole file is meant
	Key   string // empty if no key is at fault
	Value string // as written; secrets are masked
	// Msg says what is wrong or what is allowed.
	Msg string
	// Err is the cause where there is one, such as a file that cannot be read.
	Err error
}

func (e *Error) Error() string {
	s := place(e.File, e.Line, e.Key, e.Value) + e.Msg
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// place tells which line is meant, in front of what there is to say about it.
func place(file string, line int, key, value string) string {
	var b strings.Builder
	b.WriteString(file)
	if line > 0 {
		fmt.Fprintf(&b, ":%d", line)
	}
	b.WriteString(": ")
	if key != "" {
		b.WriteString(key)
		if value != "" {
			b.WriteString("=" + strconv.QuoteToGraphic(value))
		}
		b.WriteString(": ")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// fail makes an Error about a line of the static file.
func (c *Config) fail(p property, msg string) *Error { return lineError(c.name, p, msg) }

func lineError(file string, p property, msg string) *Error {
	return &Error{File: file, Line: p.line, Key: p.key, Value: masked(p.key, p.value), Msg: msg}
}

// fault notes a reason not to start, which is an *Error, at its line too.
func (c *Config) fault(err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{File: c.name, Msg: err.Error()}
	}
	c.faults = append(c.faults, e)
	text := "Stops the start: " + e.Msg + "."
	if k := lookup(e.Key); k != nil && k.Status == Refused {
		text = k.Doc + " It " + e.Msg + "."
	}
	note := Note{File: e.File, Line: e.Line, Key: e.Key, Value: e.Value, Status: Refused, Text: text, Warn: true}
	if i, ok := c.noted[spot{e.File, e.Line}]; ok {
		c.notes[i] = note
	} else if e.Line > 0 && e.Key != "" {
		c.addNote(note)
	}
}

// failKey makes an Error about a key that may or may not be in the file.
func (c *Config) failKey(key, msg string) *Error {
	e := &Error{File: c.name, Key: key, Msg: msg}
	for _, n := range c.notes {
		if n.Key == key && n.Status != Overridden {
			e.File, e.Line, e.Value = n.File, n.Line, n.Value
		}
	}
	return e
}

// spot is where a line begins.
type spot struct {
	file string
	line int
}

func (c *Config) addNote(n Note) {
	c.noted[spot{n.File, n.Line}] = len(c.notes)
	c.notes = append(c.notes, n)
}

func (c *Config) note(p property, s Status, effective, text string, warn bool) {
	if _, ok := c.noted[spot{c.name, p.line}]; ok {
		return // a line before this one has shown what is wrong with it
	}
	c.addNote(Note{File: c.name, Line: p.line, Key: p.key, Value: masked(p.key, p.value),
		Status: s, Effective: effective, Text: text, Warn: warn})
}

// warn turns the note about a key into a warning, or adds one to the file.
func (c *Config) warn(key, sentence string) {
	for i := range c.notes {
		if n := &c.notes[i]; n.Key == key && n.Status != Overridden && n.Status != Refused {
			n.Text, n.Warn = sentence, true
			return
		}
	}
	c.notes = append(c.notes, Note{File: c.name, Key: key, Status: Honored, Text: sentence, Warn: true})
}

// settleNotes fills in what honoured lines came to, now that it is known, and
// warns where that is not what was written.
func (c *Config) settleNotes() {
	for i := range c.notes {
		n := &c.notes[i]
		if n.Status != Honored && n.Status != Mapped || n.Effective != "" {
			continue
		}
		k := lookup(n.Key)
		if k == nil || k.value.get == nil {
			continue
		}
		n.Effective = masked(n.Key, k.value.get(c))
		if k.clamps && n.Effective != n.Value {
			n.Warn = true
		}
	}
}
