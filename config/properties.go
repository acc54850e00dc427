package config

import (
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// property is one key=value of a file, already decoded and trimmed.
type property struct {
	key, value string
	line       int // where its logical line starts, from 1
}

// errBadEscape is what java.util.Properties calls "Malformed \uxxxx encoding".
var errBadEscape = errors.New(`\u must be followed by four hexadecimal digits`)

// parseProperties reads text as java.util.Properties does, in file order and
// with duplicates kept, then trims keys and values as ZooKeeper does. On an
// error the line tells where.
//
// Java reads the file as ISO-8859-1, so a path with an accent comes out as two
// characters for each one written. Here bytes that are valid UTF-8 are taken
// as such, and anything else as ISO-8859-1.
func parseProperties(text []byte) (props []property, line int, err error) {
	s := string(text)
	if !utf8.ValidString(s) {
		s = latin1(text)
	}
	r := lineReader{text: strings.TrimPrefix(s, "\ufeff"), line: 1}
	for {
		logical, start, ok := r.next()
		if !ok {
			return props, 0, nil
		}
		rawKey, rawValue := splitLine(logical)
		key, err := unescape(rawKey)
		if err != nil {
			return nil, start, err
		}
		value, err := unescape(rawValue)
		if err != nil {
			return nil, start, err
		}
		props = append(props, property{key: javaTrim(key), value: javaTrim(value), line: start})
	}
}

func latin1(text []byte) string {
	runes := make([]rune, len(text))
	for i, b := range text {
		runes[i] = rune(b)
	}
	return string(runes)
}

// lineReader yields logical lines: comments and blank lines left out,
// continuation lines joined. It follows Properties.LineReader state by state,
// since its corners (a comment after an empty continuation, a blank line that
// ends one) cannot be told from the documentation.
type lineReader struct {
	text string
	off  int
	line int // physical line of text[off]
}

func (r *lineReader) next() (logical string, start int, ok bool) {
	var buf []byte
	skipSpace, continued, backslash := true, false, false
	for r.off < len(r.text) {
		c := r.text[r.off]
		r.off++
		eol := c == '\n' || c == '\r'
		here := r.line
		if c == '\n' || c == '\r' && !r.peek('\n') {
			r.line++
		}
		if skipSpace {
			if isBlank(c) || eol && !continued {
				continue
			}
			skipSpace, continued = false, false
		}
		if len(buf) == 0 && (c == '#' || c == '!') {
			r.skipComment()
			skipSpace = true
			continue
		}
		if !eol {
			if len(buf) == 0 {
				start = here
			}
			buf = append(buf, c)
			backslash = c == '\\' && !backslash
			continue
		}
		if len(buf) == 0 {
			skipSpace = true
			continue
		}
		if !backslash {
			return string(buf), start, true
		}
		buf = buf[:len(buf)-1]
		if r.off == len(r.text) {
			return string(buf), start, true // Java makes a property even of nothing here
		}
		skipSpace, continued, backslash = true, true, false
		if c == '\r' && r.peek('\n') {
			r.off++
			r.line++
		}
	}
	if len(buf) == 0 {
		return "", 0, false
	}
	if backslash {
		buf = buf[:len(buf)-1]
	}
	return string(buf), start, true
}

func (r *lineReader) peek(c byte) bool { return r.off < len(r.text) && r.text[r.off] == c }

// skipComment stops before the line end, which next then skips and counts.
func (r *lineReader) skipComment() {
	end := strings.IndexAny(r.text[r.off:], "\r\n")
	if end < 0 {
		end = len(r.text) - r.off
	}
	r.off += end
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\f' }

// splitLine cuts a logical line at its first unescaped separator: '=' or ':'
// with blanks around it, or blanks alone. Neither part is unescaped.
func splitLine(s string) (key, value string) {
	end := 0
	for end < len(s) {
		c := s[end]
		if c == '=' || c == ':' || isBlank(c) {
			break
		}
		if c == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(s))
	key, value = s[:end], strings.TrimLeft(s[end:], " \t\f")
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], " \t\f")
	}
	return key, value
}

// unescape resolves \t \n \r \f \uXXXX; a backslash before anything else is
// dropped. Surrogate pairs written as two escapes become one character.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	var high rune // a high surrogate that waits for its other half
	flush := func() {
		if high != 0 {
			b.WriteRune(utf8.RuneError)
			high = 0
		}
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' || i+1 == len(s) {
			flush()
			b.WriteByte(c)
			continue
		}
		i++
		if s[i] == 'u' {
			r, ok := hex4(s[i+1:])
			if !ok {
				return "", errBadEscape
			}
			i += 4
			if pair := utf16.DecodeRune(high, r); pair != utf8.RuneError {
				b.WriteRune(pair)
				high = 0
				continue
			}
			flush()
			if r >= 0xd800 && r < 0xdc00 {
				high = r
				continue
			}
			b.WriteRune(r)
			continue
		}
		flush()
		b.WriteByte(escaped(s[i]))
	}
	flush()
	return b.String(), nil
}

func escaped(c byte) byte {
	switch c {
	case 't':
		return '\t'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 'f':
		return '\f'
	}
	return c
}

func hex4(s string) (r rune, ok bool) {
	if len(s) < 4 {
		return 0, false
	}
	for _, c := range []byte(s[:4]) {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// javaTrim is String.trim: everything up to and including the space, at both ends.
func javaTrim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}
