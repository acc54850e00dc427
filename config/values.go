package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// value is how one key's text becomes a field of Config and back. The error
// of set is a sentence part that says what is allowed.
type value struct {
	set func(c *Config, text string) error
	get func(c *Config) string
}

// integer accepts what Java's Integer.parseInt does, within lo and hi.
func integer(text string, lo, hi int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < lo || n > hi {
		if lo == math.MinInt32 {
			return 0, errors.New("a whole number")
		}
		if hi == math.MaxInt32 || hi == math.MaxInt64 {
			return 0, fmt.Errorf("a whole number, %d or more", lo)
		}
		return 0, fmt.Errorf("a whole number from %d to %d", lo, hi)
	}
	return n, nil
}

// whole is a whole number from lo to hi.
func whole[T int | int64 | uint64](field func(*Config) *T, lo, hi int64) value {
	return value{
		set: func(c *Config, text string) error {
			n, err := integer(text, lo, hi)
			if err == nil {
				*field(c) = T(n)
			}
			return err
		},
		get: func(c *Config) string { return fmt.Sprint(*field(c)) },
	}
}

// wholeOr is whole, but values below lo become lo, as ZooKeeper does for the
// few keys where its documentation says so.
func wholeOr[T int | uint64](field func(*Config) *T, lo, hi int64) value {
	v := whole(field, lo, hi)
	return value{
		set: func(c *Config, text string) error {
			n, err := integer(text, math.MinInt32, hi)
			if err == nil {
				*field(c) = T(max(n, lo))
			}
			return err
		},
		get: v.get,
	}
}

// boolean is true or false in any case, as QuorumPeerConfig.parseBoolean.
// ZooKeeper takes any other word for false where the key is a system property;
// a typing error should not switch a feature off in silence.
func boolean(field func(*Config) *bool) value {
	return value{
		set: func(c *Config, text string) error {
			switch strings.ToLower(text) {
			case "true":
				*field(c) = true
			case "false":
				*field(c) = false
			default:
				return errors.New("true or false")
			}
			return nil
		},
		get: func(c *Config) string { return strconv.FormatBool(*field(c)) },
	}
}

// yesNo is for the older keys that say yes and no.
func yesNo(field func(*Config) *bool) value {
	return value{
		set: func(c *Config, text string) error {
			switch strings.ToLower(text) {
			case "yes":
				*field(c) = true
			case "no":
				*field(c) = false
			default:
				return errors.New("yes or no")
			}
			return nil
		},
		get: func(c *Config) string {
			if *field(c) {
				return "yes"
			}
			return "no"
		},
	}
}

// millis is a duration written as ZooKeeper does: a whole number of milliseconds.
func millis(field func(*Config) *time.Duration, lo, hi int64) value {
	return value{
		set: func(c *Config, text string) error {
			n, err := integer(text, lo, hi)
			if err != nil {
				return fmt.Errorf("%w (milliseconds)", err)
			}
			*field(c) = time.Duration(n) * time.Millisecond
			return nil
		},
		get: func(c *Config) string { return strconv.FormatInt(field(c).Milliseconds(), 10) },
	}
}

// micros is a time in microseconds.
func micros(field func(*Config) *time.Duration) value {
	return value{
		set: func(c *Config, text string) error {
			n, err := integer(text, 0, maxInt32)
			if err != nil {
				return fmt.Errorf("%w (microseconds)", err)
			}
			*field(c) = time.Duration(n) * time.Microsecond
			return nil
		},
		get: func(c *Config) string { return strconv.FormatInt(field(c).Microseconds(), 10) },
	}
}

// timing is millis for keys of our own, which take a unit too ("1s", "2.5ms").
func timing(field func(*Config) *time.Duration, lo, hi time.Duration) value {
	allowed := fmt.Errorf("milliseconds, or a number with a unit (250ms, 1s), from %v to %v", lo, hi)
	return value{
		set: func(c *Config, text string) error {
			d, err := time.ParseDuration(text)
			if ms, errInt := strconv.ParseInt(text, 10, 32); errInt == nil {
				d, err = time.Duration(ms)*time.Millisecond, nil
			}
			if err != nil || d < lo || d > hi {
				return allowed
			}
			*field(c) = d
			return nil
		},
		get: func(c *Config) string {
			if d := *field(c); d%time.Millisecond != 0 {
				return d.String()
			}
			return strconv.FormatInt(field(c).Milliseconds(), 10)
		},
	}
}

// port is a TCP port; lo is 0 where 0 has a meaning.
func port(field func(*Config) *int, lo int64) value { return whole(field, lo, 65535) }

// text is any text but the empty one.
func text(field func(*Config) *string) value {
	return value{
		set: func(c *Config, s string) error {
			if s == "" || strings.ContainsRune(s, 0) {
				return errors.New("a value that is not empty")
			}
			*field(c) = s
			return nil
		},
		get: func(c *Config) string { return *field(c) },
	}
}

// oneOf is one of a few words, written exactly so.
func oneOf[T ~string](field func(*Config) *T, words ...T) value {
	return value{
		set: func(c *Config, s string) error {
			var list []string
			for _, w := range words {
				if s == string(w) {
					*field(c) = w
					return nil
				}
				list = append(list, string(w))
			}
			return errors.New(strings.Join(list, " or "))
		},
		get: func(c *Config) string { return string(*field(c)) },
	}
}

// host is a host name or an IP address to listen on, without a port. IPv6
// addresses may have brackets.
func host(field func(*Config) *string) value {
	return value{
		set: func(c *Config, s string) error {
			if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && strings.Contains(s, ":") {
				s = s[1 : len(s)-1]
			}
			h, err := normalHost(s)
			if err == nil {
				*field(c) = h
			}
			return err
		},
		get: func(c *Config) string { return *field(c) },
	}
}

// maxHostLen is the longest name DNS has.
const maxHostLen = 253

// normalHost checks a host name or address and gives addresses their one
// form, so that two spellings of one server compare equal. Names keep their
// spelling. Nothing is looked up.
func normalHost(s string) (string, error) {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`[]|;,/\@"'=#?`, r) }
	if s == "" || len(s) > maxHostLen || strings.IndexFunc(s, bad) >= 0 {
		return "", errHost
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().String(), nil
	}
	if strings.Contains(s, ":") {
		return "", errHost
	}
	return s, nil
}

var errHost = errors.New("a host name or an IP address")

// decoded writes a number in decimal that Integer.getInteger would take for a
// system property's: with 0x or # hexadecimal, with a leading zero octal.
// Anything else stays as it is.
func decoded(s string) string {
	digits := strings.TrimLeft(s, "+-")
	sign, base := s[:len(s)-len(digits)], 8
	rest, ok := strings.CutPrefix(digits, "#")
	if !ok {
		rest, ok = strings.CutPrefix(strings.ToLower(digits), "0x")
	}
	if ok {
		base = 16
	} else if rest, ok = strings.CutPrefix(digits, "0"); !ok {
		return s
	}
	n, err := strconv.ParseUint(rest, base, 63)
	if err != nil || len(sign) > 1 {
		return s
	}
	return sign + strconv.FormatUint(n, 10)
}

// juteInt is a number of bytes.
func juteInt(field func(*Config) *int, lo int64) value {
	return value{
		set: func(c *Config, s string) error {
			n, err := strconv.ParseInt(s, 10, 32)
			if err != nil || n < lo {
				return fmt.Errorf("a number of bytes from %d to %d", lo, math.MaxInt32)
			}
			*field(c) = int(n)
			return nil
		},
		get: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

// fixed accepts the given values only and stores nothing: for ignored keys
// where another value would ask for something that cannot be ignored.
func fixed(words ...string) value {
	return value{
		set: func(_ *Config, s string) error {
			for _, w := range words {
				if strings.EqualFold(s, w) {
					return nil
				}
			}
			return errors.New(strings.Join(words, " or "))
		},
		get: func(*Config) string { return words[0] },
	}
}

// number accepts a whole number and stores nothing: for ignored keys whose
// other values ZooKeeper would not start with.
func number() value {
	return value{
		set: func(_ *Config, s string) error {
			_, err := integer(s, math.MinInt64, math.MaxInt64)
			if err != nil {
				return errors.New("a whole number")
			}
			return nil
		},
		get: func(*Config) string { return "" },
	}
}
