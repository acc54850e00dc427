package config

import (
	"errors"
	"math"
	"strconv"
	"time"
)

// Throttle holds the limits on what clients may ask for at a time. All are
// off by default.
type Throttle struct {
	// MaxRequests is how many requests of clients may travel through the log
	// at a time before others wait for their turn; 0 is no limit.
	MaxRequests int
	// StallTime is how long whoever is next waits before it looks again.
	StallTime time.Duration
	// DropStale drops a stale request when its turn comes, and with it its
	// connection. StaleByLatency and StaleByConnection say which are stale:
	// those that waited longer than their session's timeout, and those whose
	// connection is gone.
	DropStale, StaleByLatency, StaleByConnection bool
	// OpWait is the wait beyond which a request is answered ThrottledOp
	// instead of being run; 0 is none.
	OpWait time.Duration
	// LargeThreshold is the length, in bytes, above which a request is a
	// large one; -1 is none. LargeMaxBytes bounds all large requests without
	// an answer.
	LargeThreshold, LargeMaxBytes int

	Connections ConnectionThrottle
}

// ConnectionThrottle is the bucket of tokens that handshakes take from
// (ZooKeeper's BlueThrottle).
type ConnectionThrottle struct {
	Tokens    int // the bucket when full; 0 is no limit
	FillTime  time.Duration
	FillCount int // tokens that come in each FillTime
	// FreezeTime is how often the probability of dropping is changed; -1ms
	// drops nobody as long as there are tokens.
	FreezeTime time.Duration
	// DropIncrease is added to the probability with an empty bucket,
	// DropDecrease taken away while at most DecreaseRatio of it is missing.
	DropIncrease, DropDecrease, DecreaseRatio float64
	// With Weighted, tokens are counted in sessions of all servers, and a
	// handshake takes as many as it weighs. Otherwise each takes one.
	Weighted                               bool
	GlobalWeight, LocalWeight, RenewWeight int
}

// throttleKeys are ZooKeeper's system properties that limit clients.
func throttleKeys() []Key {
	rows := []Key{
		{Name: "request_throttle_max_requests", Default: "0", Doc: "Requests of this server's clients that travel through the log at a time; others wait for their turn. 0 is no limit.", clamps: true,
			value: wholeOr(func(c *Config) *int { return &c.Throttle.MaxRequests }, 0, maxInt32)},
		{Name: "request_throttle_stall_time", Default: "100", Doc: "Milliseconds after which the next in line looks again, if nothing ended meanwhile.",
			value: millis(func(c *Config) *time.Duration { return &c.Throttle.StallTime }, 1, maxInt32)},
		{Name: "request_throttle_drop_stale", Default: "true", Doc: "Drops a stale request when its turn comes, and closes its connection.",
			value: boolean(func(c *Config) *bool { return &c.Throttle.DropStale })},
		{Name: "request_stale_latency_check", Default: "false", Doc: "A request that waited longer than its session's timeout is stale.",
			value: boolean(func(c *Config) *bool { return &c.Throttle.StaleByLatency })},
		{Name: "request_stale_connection_check", Default: "true", Doc: "A request whose connection is gone is stale.",
			value: boolean(func(c *Config) *bool { return &c.Throttle.StaleByConnection })},
		{Name: "throttled_op_wait_time", Default: "0", Doc: "Milliseconds a request may wait for its turn; one that waited longer is answered ThrottledOp (-127). 0 is no limit; without request_throttle_max_requests nothing waits.", clamps: true,
			value: millisOr(func(c *Config) *time.Duration { return &c.Throttle.OpWait }, 0)},
		{Name: "largeRequestThreshold", Default: "-1", Doc: "Bytes above which a request counts for largeRequestMaxBytes; -1 is none (0 and less are taken for -1).", clamps: true,
			value: positiveOr(func(c *Config) *int { return &c.Throttle.LargeThreshold }, -1)},
		{Name: "largeRequestMaxBytes", Default: "104857600", Doc: "Bytes of large requests without an answer; one more closes its connection (0 and less are taken for the default).", clamps: true,
			value: positiveOr(func(c *Config) *int { return &c.Throttle.LargeMaxBytes }, 100<<20)},
		{Name: "connection_throttle_tokens", Default: "0", Doc: "Handshakes that may come at once; without a token a connection is closed. 0 is no limit.",
			value: whole(func(c *Config) *int { return &c.Throttle.Connections.Tokens }, 0, maxInt32)},
		{Name: "connection_throttle_fill_time", Default: "1", Doc: "Milliseconds in which connection_throttle_fill_count tokens come in.",
			value: millis(func(c *Config) *time.Duration { return &c.Throttle.Connections.FillTime }, 1, maxInt32)},
		{Name: "connection_throttle_fill_count", Default: "1", Doc: "Tokens that come in every connection_throttle_fill_time.",
			value: whole(func(c *Config) *int { return &c.Throttle.Connections.FillCount }, 0, maxInt32)},
		{Name: "connection_throttle_freeze_time", Default: "-1", Doc: "Milliseconds between changes of the probability with which handshakes are dropped at random; -1 drops none.",
			value: millis(func(c *Config) *time.Duration { return &c.Throttle.Connections.FreezeTime }, -1, maxInt32)},
		{Name: "connection_throttle_drop_increase", Default: "0.02", Doc: "Added to that probability when there is no token left.",
			value: fraction(func(c *Config) *float64 { return &c.Throttle.Connections.DropIncrease })},
		{Name: "connection_throttle_drop_decrease", Default: "0.002", Doc: "Taken from that probability when few tokens are missing.",
			value: fraction(func(c *Config) *float64 { return &c.Throttle.Connections.DropDecrease })},
		{Name: "connection_throttle_decrease_ratio", Default: "0", Doc: "Share of the tokens that may be missing for that.",
			value: fraction(func(c *Config) *float64 { return &c.Throttle.Connections.DecreaseRatio })},
		{Name: "connection_throttle_weight_enabled", Default: "false", Doc: "Tokens and fill count are for new sessions known to all servers, and other handshakes take fewer.",
			value: boolean(func(c *Config) *bool { return &c.Throttle.Connections.Weighted })},
		{Name: "connection_throttle_global_session_weight", Default: "3", Doc: "Tokens that a new session takes, connection_throttle_local_session_weight at least.", clamps: true,
			value: positiveOr(func(c *Config) *int { return &c.Throttle.Connections.GlobalWeight }, 3)},
		{Name: "connection_throttle_local_session_weight", Default: "1", Doc: "Tokens that a new local session takes.", clamps: true,
			value: positiveOr(func(c *Config) *int { return &c.Throttle.Connections.LocalWeight }, 1)},
		{Name: "connection_throttle_renew_session_weight", Default: "2", Doc: "Tokens that coming back to a session takes, connection_throttle_local_session_weight at least.", clamps: true,
			value: positiveOr(func(c *Config) *int { return &c.Throttle.Connections.RenewWeight }, 2)},
	}
	for i := range rows {
		rows[i].Property = true
	}
	return rows
}

// deriveThrottle settles what ZooKeeper settles between several keys.
func (c *Config) deriveThrottle() {
	t := &c.Throttle.Connections
	t.GlobalWeight = max(t.GlobalWeight, t.LocalWeight)
	t.RenewWeight = max(t.RenewWeight, t.LocalWeight)
	// LeaderZooKeeperServer and FollowerZooKeeperServer, not the observer's.
	if n := len(c.Voters()); !c.Standalone && n > 2 && c.PeerType == Participant {
		c.GlobalOutstandingLimit /= n - 1
	}
}

// millisOr is millis, but values below lo become lo.
func millisOr(field func(*Config) *time.Duration, lo int64) value {
	v := millis(field, math.MinInt32, maxInt32)
	return value{get: v.get, set: func(c *Config, s string) error {
		err := v.set(c, s)
		*field(c) = max(*field(c), time.Duration(lo)*time.Millisecond)
		return err
	}}
}

// fraction is a number from 0 to 1.
func fraction(field func(*Config) *float64) value {
	return value{
		set: func(c *Config, s string) error {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || !(f >= 0 && f <= 1) {
				return errors.New("a number from 0 to 1, such as 0.02")
			}
			*field(c) = f
			return nil
		},
		get: func(c *Config) string { return strconv.FormatFloat(*field(c), 'f', -1, 64) },
	}
}

// positiveOr is a whole number, where less than 1 means otherwise.
func positiveOr(field func(*Config) *int, otherwise int) value {
	v := whole(field, math.MinInt32, maxInt32)
	return value{get: v.get, set: func(c *Config, s string) error {
		err := v.set(c, s)
		if err == nil && *field(c) < 1 {
			*field(c) = otherwise
		}
		return err
	}}
}
