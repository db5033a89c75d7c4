package mvcc

import (
	"cmp"
	"fmt"
	"strings"
)

// Txn executes a transaction. All its changes get one revision.
func (s *Store) Txn(r TxnRequest) (TxnResult, error) {
	if err := r.Validate(); err != nil {
		return TxnResult{}, err
	}
	path := s.state.decide(&r, nil)
	if err := s.state.check(&r, &walk{path}); err != nil {
		return TxnResult{}, err
	}
	t := s.begin()
	result, err := t.run(&r, &walk{path})
	if err != nil {
		panic(fmt.Sprintf("mvcc: a transaction that passed all checks failed: %v", err))
	}
	result.Revision = t.end()
	return result, nil
}

// Txn executes a transaction that only reads. A transaction with writes is
// [ErrReadOnly].
func (v *View) Txn(r TxnRequest) (TxnResult, error) {
	if err := r.Validate(); err != nil {
		return TxnResult{}, err
	}
	if !r.ReadOnly() {
		return TxnResult{}, ErrReadOnly
	}
	path := v.state.decide(&r, nil)
	if err := v.state.check(&r, &walk{path}); err != nil {
		return TxnResult{}, err
	}
	result, err := (&writer{state: &v.state, revision: v.state.revision}).run(&r, &walk{path})
	result.Revision = v.state.revision
	return result, err
}

// ReadOnly reports whether no operation of the transaction writes.
func (r *TxnRequest) ReadOnly() bool {
	for _, ops := range [][]Op{r.Then, r.Else} {
		for _, op := range ops {
			if op.Put != nil || op.Delete != nil || op.Txn != nil && !op.Txn.ReadOnly() {
				return false
			}
		}
	}
	return true
}

// Validate returns the error of a transaction that no state makes valid.
func (r *TxnRequest) Validate() error {
	if err := r.validate(); err != nil {
		return err
	}
	for _, ops := range [][]Op{r.Then, r.Else} {
		if _, err := changesOf(ops); err != nil {
			return err
		}
	}
	return nil
}

// validate checks each operation alone.
func (r *TxnRequest) validate() error {
	for i := range r.Compares {
		if err := r.Compares[i].validate(); err != nil {
			return err
		}
	}
	for _, ops := range [][]Op{r.Then, r.Else} {
		for i := range ops {
			if err := ops[i].Validate(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Compare) validate() error {
	switch {
	case c.Key == "":
		return ErrEmptyKey
	case c.Field > FieldLease:
		return fmt.Errorf("%w: field %d of a comparison; the last one is %d", ErrInvalid, c.Field, FieldLease)
	case c.Relation > NotEqual:
		return fmt.Errorf("%w: relation %d of a comparison; the last one is %d", ErrInvalid, c.Relation, NotEqual)
	}
	return nil
}

// Validate returns the error of an operation that no state makes valid.
func (o *Op) Validate() error {
	requests := 0
	for _, is := range []bool{o.Range != nil, o.Put != nil, o.Delete != nil, o.Txn != nil} {
		if is {
			requests++
		}
	}
	switch {
	case requests != 1:
		return fmt.Errorf("%w: an operation with %d requests; want 1", ErrInvalid, requests)
	case o.Range != nil:
		return o.Range.validate()
	case o.Put != nil:
		return o.Put.validate()
	case o.Delete != nil:
		return o.Delete.validate()
	}
	return o.Txn.validate()
}

// changes is what operations change.
type changes struct {
	puts    map[string]bool
	deletes []*DeleteRequest
}

// changesOf collects what operations change, and refuses a key that is put twice or
// put and deleted. Either the Then or the Else of a nested transaction is executed, so
// both may put a key.
func changesOf(ops []Op) (changes, error) {
	c := changes{}
	if len(ops) == 1 && ops[0].Txn == nil && ops[0].Put == nil { // has nothing to collide with
		if ops[0].Delete != nil {
			c.deletes = append(c.deletes, ops[0].Delete)
		}
		return c, nil
	}
	for _, op := range ops {
		switch {
		case op.Delete != nil:
			c.deletes = append(c.deletes, op.Delete)
		case op.Put != nil:
			if c.puts[op.Put.Key] {
				return c, ErrDuplicateKey
			}
			c.put(op.Put.Key)
		}
	}
	if c.collides(changes{deletes: c.deletes}) {
		return c, ErrDuplicateKey
	}
	for _, op := range ops {
		if op.Txn == nil {
			continue
		}
		then, err := changesOf(op.Txn.Then)
		if err != nil {
			return c, err
		}
		other, err := changesOf(op.Txn.Else)
		if err != nil {
			return c, err
		}
		if c.collides(then) || c.collides(other) {
			return c, ErrDuplicateKey
		}
		c.add(then)
		c.add(other)
	}
	return c, nil
}

func (c *changes) put(key string) {
	if c.puts == nil {
		c.puts = make(map[string]bool)
	}
	c.puts[key] = true
}

func (c *changes) add(o changes) {
	for key := range o.puts {
		c.put(key)
	}
	c.deletes = append(c.deletes, o.deletes...)
}

// collides reports whether a put of one and a put or deletion of the other have a key
// in common.
func (c *changes) collides(o changes) bool {
	for key := range o.puts {
		if c.puts[key] || deletes(c.deletes, key) {
			return true
		}
	}
	for key := range c.puts {
		if deletes(o.deletes, key) {
			return true
		}
	}
	return false
}

func deletes(all []*DeleteRequest, key string) bool {
	for _, d := range all {
		if within(key, d.Key, d.End) {
			return true
		}
	}
	return false
}

// within reports whether a key lies in a range.
func within(key, first, end string) bool {
	switch end {
	case "":
		return key == first
	case FromKey:
		return key >= first
	}
	return first <= key && key < end
}

// decide appends to path whether the comparisons of a transaction hold, and those of
// the nested transactions that are then executed, in order.
func (s *state) decide(r *TxnRequest, path []bool) []bool {
	holds := true
	for i := 0; i < len(r.Compares) && holds; i++ {
		holds = s.holds(&r.Compares[i])
	}
	path = append(path, holds)
	for _, op := range r.branch(holds) {
		if op.Txn != nil {
			path = s.decide(op.Txn, path)
		}
	}
	return path
}

func (r *TxnRequest) branch(succeeded bool) []Op {
	if succeeded {
		return r.Then
	}
	return r.Else
}

// walk follows a path of decisions.
type walk struct{ path []bool }

func (w *walk) next() bool {
	first := w.path[0]
	w.path = w.path[1:]
	return first
}

// holds evaluates a comparison.
func (s *state) holds(c *Compare) bool {
	found, holds := false, true
	s.ascend(c.Key, c.End, newest, func(v *version) bool {
		found = true
		holds = c.holds(&v.KeyValue)
		return holds
	})
	if !found {
		return c.Field != FieldValue && c.holds(&KeyValue{})
	}
	return holds
}

func (c *Compare) holds(kv *KeyValue) bool {
	order := 0
	switch c.Field {
	case FieldVersion:
		order = cmp.Compare(kv.Version, c.Number)
	case FieldCreateRevision:
		order = cmp.Compare(kv.CreateRevision, c.Number)
	case FieldModRevision:
		order = cmp.Compare(kv.ModRevision, c.Number)
	case FieldLease:
		order = cmp.Compare(kv.Lease, c.Number)
	case FieldValue:
		order = strings.Compare(kv.Value, c.Value)
	}
	switch c.Relation {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Greater:
		return order > 0
	}
	return order < 0
}

// check returns the error of an operation that is to be executed, before any is. An
// operation that passes cannot fail later, because no other operation changes the
// operation's key.
func (s *state) check(r *TxnRequest, w *walk) error {
	for _, op := range r.branch(w.next()) {
		var err error
		switch {
		case op.Range != nil:
			_, err = s.readable(op.Range.Revision)
		case op.Put != nil:
			err = s.checkPut(op.Put)
		case op.Txn != nil:
			err = s.check(op.Txn, w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// run executes the operations of a transaction that passed check.
func (t *writer) run(r *TxnRequest, w *walk) (TxnResult, error) {
	result := TxnResult{Succeeded: w.next()}
	ops := r.branch(result.Succeeded)
	result.Results = make([]OpResult, len(ops))
	for i, op := range ops {
		to := &result.Results[i]
		switch {
		case op.Range != nil:
			found, err := t.state.find(op.Range)
			if err != nil {
				return result, err
			}
			to.Range = &found
			if t.store != nil {
				t.ops++
				t.store.counts.Ranges++
			}
		case op.Put != nil:
			put := t.put(op.Put)
			to.Put = &put
		case op.Delete != nil:
			deleted := t.delete(op.Delete)
			to.Delete = &deleted
		case op.Txn != nil:
			nested, err := t.run(op.Txn, w)
			if err != nil {
				return result, err
			}
			to.Txn = &nested
		}
	}
	return result, nil
}
