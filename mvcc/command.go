package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Command is a write as a value, for a replicated log. Exactly one field is set.
type Command struct {
	Put        *PutRequest
	Delete     *DeleteRequest
	Txn        *TxnRequest
	Compact    *CompactCommand
	Grant      *Lease // ID and TTL
	Revoke     *RevokeCommand
	Checkpoint []LeaseCheckpoint
}

// CompactCommand is a [Store.Compact].
type CompactCommand struct{ Revision int64 }

// RevokeCommand is a [Store.RevokeLease].
type RevokeCommand struct{ Lease int64 }

// LeaseCheckpoint is a [Store.CheckpointLease].
type LeaseCheckpoint struct{ Lease, Remaining int64 }

// Result is the result of a command. The field of the command's request is set.
type Result struct {
	// Revision is the store's revision after the command.
	Revision int64
	Put      *PutResult
	Delete   *DeleteResult
	Txn      *TxnResult
}

// Apply executes a command.
func (s *Store) Apply(c Command) (Result, error) {
	var result Result
	err := c.validate()
	switch {
	case err != nil:
	case c.Put != nil:
		var r PutResult
		if r, err = s.Put(*c.Put); err == nil {
			result.Put = &r
		}
	case c.Delete != nil:
		var r DeleteResult
		if r, err = s.Delete(*c.Delete); err == nil {
			result.Delete = &r
		}
	case c.Txn != nil:
		var r TxnResult
		if r, err = s.Txn(*c.Txn); err == nil {
			result.Txn = &r
		}
	case c.Compact != nil:
		err = s.Compact(c.Compact.Revision)
	case c.Grant != nil:
		err = s.GrantLease(c.Grant.ID, c.Grant.TTL)
	case c.Revoke != nil:
		_, err = s.RevokeLease(c.Revoke.Lease)
	default:
		for _, p := range c.Checkpoint {
			s.CheckpointLease(p.Lease, p.Remaining)
		}
	}
	result.Revision = s.state.revision
	return result, err
}

func (c *Command) validate() error {
	requests := 0
	for _, is := range []bool{c.Put != nil, c.Delete != nil, c.Txn != nil, c.Compact != nil, c.Grant != nil, c.Revoke != nil, c.Checkpoint != nil} {
		if is {
			requests++
		}
	}
	if requests != 1 {
		return fmt.Errorf("%w: a command with %d requests; want 1", ErrInvalid, requests)
	}
	return nil
}

// Kinds of commands and of operations in their encoding. The values never change.
const (
	kindPut byte = iota + 1
	kindDelete
	kindTxn
	kindRange
	kindCompact
	kindGrant
	kindRevoke
	kindCheckpoint
)

// Flags of encoded requests.
const (
	flagPrevKV = 1 << iota
	flagIgnoreValue
	flagIgnoreLease
	flagKeysOnly
	flagCountOnly
	flagSerializable
)

// maxNesting bounds the depth of nested transactions in an encoded command.
const maxNesting = 64

// ErrCommand is matched by the error of Decode.
var ErrCommand = errors.New("mvcc: the encoded command is damaged")

// Append appends the encoded command to a buffer. A command without a request, or with
// several, matches [ErrInvalid], and so does a transaction that is nested more than 64
// deep.
func (c *Command) Append(to []byte) ([]byte, error) {
	if err := c.validate(); err != nil {
		return to, err
	}
	switch {
	case c.Put != nil:
		return c.Put.append(append(to, kindPut)), nil
	case c.Delete != nil:
		return c.Delete.append(append(to, kindDelete)), nil
	case c.Txn != nil:
		return c.Txn.append(append(to, kindTxn), maxNesting)
	case c.Compact != nil:
		return binary.AppendVarint(append(to, kindCompact), c.Compact.Revision), nil
	case c.Grant != nil:
		to = binary.AppendVarint(append(to, kindGrant), c.Grant.ID)
		return binary.AppendVarint(to, c.Grant.TTL), nil
	case c.Revoke != nil:
		return binary.AppendVarint(append(to, kindRevoke), c.Revoke.Lease), nil
	}
	to = binary.AppendUvarint(append(to, kindCheckpoint), uint64(len(c.Checkpoint)))
	for _, p := range c.Checkpoint {
		to = binary.AppendVarint(to, p.Lease)
		to = binary.AppendVarint(to, p.Remaining)
	}
	return to, nil
}

func appendString(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

func flag(is bool, bit byte) byte {
	if is {
		return bit
	}
	return 0
}

func (r *PutRequest) append(to []byte) []byte {
	to = append(to, flag(r.PrevKV, flagPrevKV)|flag(r.IgnoreValue, flagIgnoreValue)|flag(r.IgnoreLease, flagIgnoreLease))
	to = appendString(to, r.Key)
	to = appendString(to, r.Value)
	return binary.AppendVarint(to, r.Lease)
}

func (r *DeleteRequest) append(to []byte) []byte {
	to = append(to, flag(r.PrevKV, flagPrevKV))
	return appendString(appendString(to, r.Key), r.End)
}

func (r *RangeRequest) append(to []byte) []byte {
	to = append(to, flag(r.KeysOnly, flagKeysOnly)|flag(r.CountOnly, flagCountOnly)|flag(r.Serializable, flagSerializable))
	to = appendString(appendString(to, r.Key), r.End)
	to = append(to, byte(r.Order), byte(r.Target))
	for _, n := range []int64{r.Limit, r.Revision, r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision} {
		to = binary.AppendVarint(to, n)
	}
	return to
}

func (r *TxnRequest) append(to []byte, depth int) (_ []byte, err error) {
	if depth == 0 {
		return to, fmt.Errorf("%w: transactions nested more than %d deep", ErrInvalid, maxNesting)
	}
	to = binary.AppendUvarint(to, uint64(len(r.Compares)))
	for i := range r.Compares {
		c := &r.Compares[i]
		to = appendString(appendString(to, c.Key), c.End)
		to = append(to, byte(c.Field), byte(c.Relation))
		to = appendString(binary.AppendVarint(to, c.Number), c.Value)
	}
	for _, ops := range [][]Op{r.Then, r.Else} {
		to = binary.AppendUvarint(to, uint64(len(ops)))
		for i := range ops {
			if to, err = ops[i].append(to, depth); err != nil {
				return to, err
			}
		}
	}
	return to, nil
}

func (o *Op) append(to []byte, depth int) ([]byte, error) {
	switch {
	case o.Range != nil:
		return o.Range.append(append(to, kindRange)), nil
	case o.Put != nil:
		return o.Put.append(append(to, kindPut)), nil
	case o.Delete != nil:
		return o.Delete.append(append(to, kindDelete)), nil
	case o.Txn != nil:
		return o.Txn.append(append(to, kindTxn), depth-1)
	}
	return to, fmt.Errorf("%w: an operation without a request", ErrInvalid)
}

// Decode decodes a command of [Command.Append]. The command does not refer to data. The
// error matches [ErrCommand].
func Decode(data []byte) (Command, error) {
	p := parser{data: data}
	var c Command
	switch kind := p.byte(); kind {
	case kindPut:
		c.Put = p.put()
	case kindDelete:
		c.Delete = p.delete()
	case kindTxn:
		c.Txn = p.txn(maxNesting)
	case kindCompact:
		c.Compact = &CompactCommand{Revision: p.varint()}
	case kindGrant:
		c.Grant = &Lease{ID: p.varint(), TTL: p.varint()}
	case kindRevoke:
		c.Revoke = &RevokeCommand{Lease: p.varint()}
	case kindCheckpoint:
		c.Checkpoint = make([]LeaseCheckpoint, p.length(2))
		for i := range c.Checkpoint {
			c.Checkpoint[i] = LeaseCheckpoint{Lease: p.varint(), Remaining: p.varint()}
		}
	default:
		p.fail(fmt.Errorf("kind %d", kind))
	}
	if err := p.end(); err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	return c, nil
}

// parser reads encoded fields. After an error it returns zero values.
type parser struct {
	data []byte
	err  error
}

var errShort = errors.New("the data ends too soon")

func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
	p.data = nil
}

func (p *parser) more() bool { return p.err == nil && len(p.data) > 0 }

// end returns the error, also one for data that is left.
func (p *parser) end() error {
	if p.err == nil && len(p.data) > 0 {
		return fmt.Errorf("%d bytes follow", len(p.data))
	}
	return p.err
}

func (p *parser) byte() byte {
	if len(p.data) == 0 {
		p.fail(errShort)
		return 0
	}
	b := p.data[0]
	p.data = p.data[1:]
	return b
}

// flags reads a byte of flags, of which only the allowed ones may be set.
func (p *parser) flags(allowed byte) byte {
	b := p.byte()
	if b&^allowed != 0 {
		p.fail(fmt.Errorf("flags %08b; want %08b at most", b, allowed))
		return 0
	}
	return b
}

func (p *parser) uvarint() uint64 {
	n, size := binary.Uvarint(p.data)
	if size <= 0 {
		p.fail(errShort)
		return 0
	}
	p.data = p.data[size:]
	return n
}

func (p *parser) varint() int64 {
	n, size := binary.Varint(p.data)
	if size <= 0 {
		p.fail(errShort)
		return 0
	}
	p.data = p.data[size:]
	return n
}

// length reads the number of elements, each of which takes at least size bytes.
func (p *parser) length(size int) int {
	n := p.uvarint()
	if n > uint64(len(p.data)/size) {
		p.fail(errShort)
		return 0
	}
	return int(n)
}

func (p *parser) string() string {
	n := p.length(1)
	s := string(p.data[:n])
	p.data = p.data[n:]
	return s
}

func (p *parser) put() *PutRequest {
	f := p.flags(flagPrevKV | flagIgnoreValue | flagIgnoreLease)
	return &PutRequest{
		PrevKV: f&flagPrevKV != 0, IgnoreValue: f&flagIgnoreValue != 0, IgnoreLease: f&flagIgnoreLease != 0,
		Key: p.string(), Value: p.string(), Lease: p.varint(),
	}
}

func (p *parser) delete() *DeleteRequest {
	f := p.flags(flagPrevKV)
	return &DeleteRequest{PrevKV: f&flagPrevKV != 0, Key: p.string(), End: p.string()}
}

func (p *parser) rangeRequest() *RangeRequest {
	f := p.flags(flagKeysOnly | flagCountOnly | flagSerializable)
	return &RangeRequest{
		KeysOnly: f&flagKeysOnly != 0, CountOnly: f&flagCountOnly != 0, Serializable: f&flagSerializable != 0,
		Key: p.string(), End: p.string(), Order: Order(p.byte()), Target: Target(p.byte()),
		Limit: p.varint(), Revision: p.varint(),
		MinModRevision: p.varint(), MaxModRevision: p.varint(),
		MinCreateRevision: p.varint(), MaxCreateRevision: p.varint(),
	}
}

func (p *parser) txn(depth int) *TxnRequest {
	if depth == 0 {
		p.fail(fmt.Errorf("transactions nested more than %d deep", maxNesting))
		return nil
	}
	r := &TxnRequest{}
	for range p.length(6) {
		r.Compares = append(r.Compares, Compare{
			Key: p.string(), End: p.string(), Field: Field(p.byte()), Relation: Relation(p.byte()),
			Number: p.varint(), Value: p.string(),
		})
	}
	for _, ops := range []*[]Op{&r.Then, &r.Else} {
		for range p.length(4) {
			*ops = append(*ops, p.op(depth))
		}
	}
	return r
}

func (p *parser) op(depth int) (o Op) {
	switch kind := p.byte(); kind {
	case kindRange:
		o.Range = p.rangeRequest()
	case kindPut:
		o.Put = p.put()
	case kindDelete:
		o.Delete = p.delete()
	case kindTxn:
		o.Txn = p.txn(depth - 1)
	default:
		p.fail(fmt.Errorf("an operation of kind %d", kind))
	}
	return o
}

// version reads what appendFields and the value's bytes have.
func (p *parser) version(v *version) {
	v.deleted = p.flags(1) == 1
	v.ModRevision = p.varint()
	sub := p.uvarint()
	if v.sub = int32(sub); uint64(v.sub) != sub || v.sub < 0 {
		p.fail(fmt.Errorf("sub-revision %d", sub))
	}
	if v.deleted {
		return
	}
	v.CreateRevision, v.Version, v.Lease = p.varint(), p.varint(), p.varint()
	v.Value = p.string()
}
