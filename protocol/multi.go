package protocol

// MultiHeader stands before every operation and every result of a multi, and
// once more, done, at the end.
type MultiHeader struct {
	Type OpCode
	Done bool
	Err  ErrCode
}

// MultiEnd is the header that ends a multi, in requests and in replies.
var MultiEnd = MultiHeader{Type: OpError, Done: true, Err: -1}

// AppendTo appends the record.
func (h MultiHeader) AppendTo(b []byte) []byte {
	return AppendInt(AppendBool(AppendInt(b, int32(h.Type)), h.Done), int32(h.Err))
}

// Decode reads the record.
func (h *MultiHeader) Decode(d *Decoder) {
	h.Type, h.Done, h.Err = OpCode(d.Int()), d.Bool(), ErrCode(d.Int())
}

// MultiOp is one operation of a multi: a *CreateRequest, *CreateTTLRequest,
// *DeleteRequest, *SetDataRequest, *CheckRequest or, in a multiRead,
// *PathWatchRequest.
type MultiOp struct {
	Type OpCode
	Body Record
}

// MultiRequest is the body of multi and multiRead
// (org.apache.zookeeper.MultiOperationRecord). Decoding fails on an operation
// that neither may hold, and on a mixture of reads and writes; Ops then holds
// what came before.
type MultiRequest struct{ Ops []MultiOp }

// AppendTo appends the record.
func (r *MultiRequest) AppendTo(b []byte) []byte {
	for _, op := range r.Ops {
		b = MultiHeader{Type: op.Type, Err: -1}.AppendTo(b)
		b = op.Body.AppendTo(b)
	}
	return MultiEnd.AppendTo(b)
}

// Decode reads the record.
func (r *MultiRequest) Decode(d *Decoder) {
	var h MultiHeader
	for h.Decode(d); d.Err() == nil && !h.Done; h.Decode(d) {
		body := multiBody(h.Type)
		if body == nil {
			d.Fail()
			return
		}
		if body.Decode(d); d.Err() != nil {
			return
		}
		r.Ops = append(r.Ops, MultiOp{h.Type, body})
		if h.Type.read() != r.Ops[0].Type.read() {
			d.Fail()
			return
		}
	}
}

// Sound reports whether ZooKeeper can decode the creates: create, create2 and
// createContainer want a list, and a mode that is known and has no TTL. Over a
// missing list ZooKeeper stumbles instead of refusing it, and so spends no
// zxid on the multi.
func (r *MultiRequest) Sound() (sound, stumbles bool) {
	for _, op := range r.Ops {
		c, ok := op.Body.(*CreateRequest)
		switch {
		case !ok:
		case !c.Mode.Valid():
			return false, false
		case c.ACL == nil:
			return false, true
		case c.Mode.TTL():
			return false, false
		}
	}
	return true, false
}

// MakesEphemeral reports whether a create asks for an ephemeral. As in
// QuorumZooKeeperServer.checkUpgradeSession nothing counts behind a mode that
// is not known.
func (r *MultiRequest) MakesEphemeral() bool {
	for _, op := range r.Ops {
		var mode CreateMode
		switch body := op.Body.(type) {
		case *CreateRequest:
			mode = body.Mode
		case *CreateTTLRequest:
			mode = body.Mode
		}
		if !mode.Valid() || mode.Ephemeral() {
			return mode.Ephemeral()
		}
	}
	return false
}

// Reads reports whether the operations are reads. An empty multi has none.
func (r *MultiRequest) Reads() bool { return len(r.Ops) > 0 && r.Ops[0].Type.read() }

func (c OpCode) read() bool { return c == OpGetData || c == OpGetChildren }

func multiBody(op OpCode) Record {
	switch op {
	case OpCreate, OpCreate2, OpCreateContainer:
		return new(CreateRequest)
	case OpCreateTTL:
		return new(CreateTTLRequest)
	case OpDelete, OpCheck:
		return new(DeleteRequest)
	case OpSetData:
		return new(SetDataRequest)
	case OpGetData, OpGetChildren:
		return new(PathWatchRequest)
	}
	return nil
}

// MultiResult is one result of a multi. Type OpError carries Err in its body;
// Body is nil where the operation answers nothing.
type MultiResult struct {
	Type OpCode
	Err  ErrCode
	Body Record
}

// MultiResponse answers multi and multiRead
// (org.apache.zookeeper.MultiResponse).
type MultiResponse struct{ Results []MultiResult }

// AppendTo appends the record.
func (r *MultiResponse) AppendTo(b []byte) []byte {
	for _, res := range r.Results {
		b = MultiHeader{Type: res.Type, Err: res.Err}.AppendTo(b)
		if res.Type == OpError {
			b = AppendInt(b, int32(res.Err))
		} else if res.Body != nil {
			b = res.Body.AppendTo(b)
		}
	}
	return MultiEnd.AppendTo(b)
}

// Decode reads the record.
func (r *MultiResponse) Decode(d *Decoder) {
	var h MultiHeader
	for h.Decode(d); d.Err() == nil && !h.Done; h.Decode(d) {
		res := MultiResult{Type: h.Type, Err: h.Err}
		switch h.Type {
		case OpCreate:
			res.Body = new(PathResponse)
		case OpCreate2:
			res.Body = new(Create2Response)
		case OpSetData:
			res.Body = new(StatResponse)
		case OpGetData:
			res.Body = new(GetDataResponse)
		case OpGetChildren:
			res.Body = new(StringsResponse)
		case OpDelete, OpCheck:
		case OpError:
			res.Err = ErrCode(d.Int())
		default:
			d.Fail()
		}
		if res.Body != nil {
			res.Body.Decode(d)
		}
		r.Results = append(r.Results, res)
	}
}
