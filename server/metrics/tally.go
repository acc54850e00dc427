package metrics

// Tally is what one connection has counted and not yet added to the Set. Reads
// come in runs, and adding once a run spares processors the fight over the
// Set's memory. The zero value is empty. Its owner locks it.
type Tally struct {
	received, sent           int64
	bytesReceived            int64
	responseBytes            int64
	watchBytes               int64
	last, least, greatest    int64 // bytes of replies and events, if sized
	sized                    bool
	latencyMs, latencies     int64 // of reads: how many took the same time
	namespace                string
	readBytes, readsOfOneKey int64
}

// Received takes in a packet of size bytes, its length included.
func (t *Tally) Received(size int) {
	t.received++
	t.bytesReceived += int64(size)
}

// Replied takes in a reply of size bytes, without its length.
func (t *Tally) Replied(size int) {
	t.responseBytes += int64(size)
	t.sentSized(size)
}

// Event takes in a watch event of size bytes, without its length.
func (t *Tally) Event(size int) {
	t.watchBytes += int64(size)
	t.sentSized(size)
}

// Sent takes in a packet that is no reply to a request.
func (t *Tally) Sent() { t.sent++ }

func (t *Tally) sentSized(size int) {
	n := int64(size)
	t.sent++
	t.last, t.greatest = n, max(t.greatest, n)
	if !t.sized || n < t.least {
		t.least = n
	}
	t.sized = true
}

// Answered takes in that a read, or an update, was answered after so many
// milliseconds.
func (t *Tally) Answered(s *Set, ms int64, update bool) {
	if update {
		s.Latency.Observe(ms)
		s.UpdateLatency.Observe(ms)
		return
	}
	if ms != t.latencyMs {
		t.addLatencies(s)
		t.latencyMs = ms
	}
	t.latencies++
}

// Read takes in that bytes were read below namespace, which is not kept longer
// than until Flush.
func (t *Tally) Read(s *Set, namespace string, bytes int) {
	if n := int64(bytes); n != t.readBytes || namespace != t.namespace {
		t.addReads(s)
		t.readBytes, t.namespace = n, namespace
	}
	t.readsOfOneKey++
}

// Flush adds everything to s.
func (t *Tally) Flush(s *Set) {
	if t.received != 0 {
		s.PacketsReceived.Add(t.received)
		s.BytesReceived.Add(t.bytesReceived)
	}
	if t.sent != 0 {
		s.PacketsSent.Add(t.sent)
	}
	if t.responseBytes != 0 {
		s.ResponseBytes.Add(t.responseBytes)
	}
	if t.watchBytes != 0 {
		s.WatchBytes.Add(t.watchBytes)
	}
	if t.sized {
		s.ResponseSize.observe(t.last, t.least, t.greatest)
	}
	t.addLatencies(s)
	t.addReads(s)
	*t = Tally{}
}

func (t *Tally) addLatencies(s *Set) {
	if t.latencies != 0 {
		s.Latency.observe(t.latencyMs, t.latencies)
		s.ReadLatency.observe(t.latencyMs, t.latencies)
		t.latencies = 0
	}
}

func (t *Tally) addReads(s *Set) {
	if t.readsOfOneKey != 0 {
		s.ReadPerNamespace.observe(t.namespace, t.readBytes, t.readsOfOneKey)
		t.readsOfOneKey = 0
	}
}
