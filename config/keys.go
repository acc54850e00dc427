package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is what becomes of a line.
type Status uint8

// Honored keys mean what they mean in ZooKeeper. Mapped keys act on the part
// of Raft that corresponds. Ignored keys have no effect, and Doc says why.
// Refused keys stop the start unless they have a harmless value. Unknown and
// Overridden are for lines only, never for a row of the table.
const (
	Honored Status = iota
	Mapped
	Ignored
	Refused
	Unknown
	Overridden
)

func (s Status) String() string {
	return [...]string{"honored", "mapped", "ignored", "refused", "unknown", "overridden"}[s]
}

// Key is all there is to say about one key of zoo.cfg. The parser, the
// defaults, check-config and docs/configuration.md walk the table of these.
type Key struct {
	Name    string // as in zoo.cfg; a final "*" makes it a family
	Default string // as one would write it; empty for none
	Status  Status
	// Property marks keys that ZooKeeper reads as system properties, numbers
	// by Integer.getInteger.
	Property bool
	// Doc says in one sentence, with its unit, what the key does here, or why nothing.
	Doc string
	// Harmless are the values of a refused key that ask for nothing.
	Harmless []string

	secret bool // the value is not to be shown
	clamps bool // a value out of range becomes the nearest allowed
	value  value
}

// harmless reports whether a refused key asks for nothing.
func (k *Key) harmless(v string) bool {
	return v == "" || slices.ContainsFunc(k.Harmless, func(h string) bool { return strings.EqualFold(h, v) })
}

// refusal is the message of a refused key.
func (k *Key) refusal() string {
	msg := "is not built yet, so coordd does not start with it"
	if len(k.Harmless) > 0 {
		return msg + "; allowed: " + strings.Join(k.Harmless, " or ") + ", or no such line"
	}
	return msg + "; remove the line if you can do without"
}

// Keys returns the table, in the order of the documentation.
func Keys() []Key { return slices.Clone(keys) }

// lookup finds the row for a key: the row of its name, else the family with
// the longest prefix. It returns nil if there is none.
func lookup(name string) *Key {
	var best *Key
	for i := range keys {
		k := &keys[i]
		if k.Name == name {
			return k
		}
		prefix, family := strings.CutSuffix(k.Name, "*")
		if family && len(name) > len(prefix) && strings.HasPrefix(name, prefix) &&
			(best == nil || len(k.Name) > len(best.Name)) {
			best = k
		}
	}
	return best
}

// nearest returns ", did you mean X" when a key differs only in case.
func nearest(name string) string {
	for i := range keys {
		if strings.EqualFold(keys[i].Name, name) {
			return "; did you mean " + keys[i].Name + "?"
		}
	}
	return ""
}

// masked hides values that are credentials.
func masked(key, v string) string {
	key = strings.TrimPrefix(key, "zookeeper.")
	if v == "" {
		return v
	}
	if strings.Contains(strings.ToLower(key), "password") {
		return "***"
	}
	if k := lookup(key); k != nil && k.secret {
		return "***"
	}
	return v
}

const (
	maxInt32 = 1<<31 - 1
	// maxTick keeps 20 ticks, the longest session by default, within the
	// 32-bit milliseconds of the client protocol.
	maxTick = maxInt32 / 20
)

func setMetricsClass(c *Config, s string) error {
	switch s {
	case prometheusProvider:
		c.Metrics.Enabled = true
	case defaultProvider, nullProvider:
		c.Metrics.Enabled = false
	default:
		return errors.New(prometheusProvider + ", " + defaultProvider + " or " + nullProvider)
	}
	c.Metrics.className = s
	return nil
}

const (
	prometheusProvider = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
	defaultProvider    = "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"
	nullProvider       = "org.apache.zookeeper.metrics.impl.NullMetricsProvider"
)

func setCommandURL(c *Config, s string) error {
	ok := len(s) > 1 && s[0] == '/' && s[len(s)-1] != '/'
	for _, r := range s {
		ok = ok && r > ' ' && r < 0x7f && !strings.ContainsRune(`?#%*{}"\`, r)
	}
	if !ok {
		return errors.New("a path such as /commands")
	}
	c.Admin.CommandURL = s
	return nil
}

func setWords(c *Config, s string) error {
	for w := range strings.SplitSeq(s, ",") {
		if strings.ContainsFunc(strings.TrimSpace(w), func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errors.New("* for all words, or a list such as ruok, mntr, conf")
		}
	}
	c.words = s
	return nil
}

func setSuperDigest(c *Config, s string) error {
	user, hash, ok := strings.Cut(s, ":")
	if !ok || user == "" || hash == "" || strings.ContainsAny(s, " \x00") {
		return errors.New("user:base64 of the SHA-1 of user:password, as DigestAuthenticationProvider prints it")
	}
	c.SuperDigest = s
	return nil
}

func setPeerType(c *Config, s string) error {
	t := PeerType(strings.ToLower(s))
	if t != Participant && t != Observer {
		return errors.New("participant or observer")
	}
	c.PeerType = t
	return nil
}

func setVersion(c *Config, s string) error {
	v, err := parseVersion(s)
	if err == nil {
		c.ConfigVersion = v
	}
	return err
}

// sessionMillis is millis, with -1 for "from tickTime".
func sessionMillis(field func(*Config) *time.Duration) value {
	v := millis(field, 1, maxInt32)
	return value{get: v.get, set: func(c *Config, s string) error {
		if s == "-1" {
			*field(c) = unset
			return nil
		}
		return v.set(c, s)
	}}
}

// hours is a number of hours, where less than 1 means off.
func hours(field func(*Config) *time.Duration) value {
	return value{
		set: func(c *Config, s string) error {
			n, err := integer(s, -maxInt32, 1<<20)
			if err != nil {
				return errors.New("a whole number of hours up to 1048576, 0 for off")
			}
			*field(c) = time.Duration(max(n, 0)) * time.Hour
			return nil
		},
		get: func(c *Config) string { return fmt.Sprint(int64(*field(c) / time.Hour)) },
	}
}
