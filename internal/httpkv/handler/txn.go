//go:build !wasip1

package handler

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"raftlab/internal/httpkv"
	"raftlab/kv"
	"raftlab/shardkv"
)

// txn is the body of a transaction's request, with etcd's compare, success and failure,
// and with text in place of base64.
type txn struct {
	Compare []comparison `json:"compare"`
	Success []txnOp      `json:"success"`
	Failure []txnOp      `json:"failure"`
}

// comparison compares a key's value or version. The request gives one of them.
type comparison struct {
	httpkv.KeyText
	httpkv.ValueText
	Version *uint64 `json:"version"`
	Result  string  `json:"result"` // "": EQUAL
}

// txnOp is one operation. The request gives one of the fields.
type txnOp struct {
	Get    *txnArgs `json:"get"`
	Put    *txnArgs `json:"put"`
	Append *txnArgs `json:"append"`
	Delete *txnArgs `json:"delete"`
}

type txnArgs struct {
	httpkv.KeyText
	httpkv.ValueText
}

var relations = map[string]shardkv.Relation{
	"": shardkv.Equal, "EQUAL": shardkv.Equal, "NOT_EQUAL": shardkv.NotEqual, "LESS": shardkv.Less, "GREATER": shardkv.Greater,
}

func (c *comparison) decode() (shardkv.Compare, error) {
	key, err := keyIn(c.KeyText)
	if err != nil {
		return shardkv.Compare{}, err
	}
	relation, known := relations[c.Result]
	hasValue := c.ValueText.Given()
	switch {
	case !known:
		return shardkv.Compare{}, fmt.Errorf("result is %q; want EQUAL, NOT_EQUAL, LESS or GREATER", c.Result)
	case hasValue == (c.Version != nil):
		return shardkv.Compare{}, errors.New("want either a value or a version to compare with")
	case c.Version != nil:
		return shardkv.CompareVersion(key, relation, *c.Version), nil
	}
	value, err := c.ValueText.Bytes()
	return shardkv.CompareValue(key, relation, value), err
}

func (o *txnOp) decode() (kv.Op, error) {
	var args *txnArgs
	var op kv.Op
	given := 0
	for kind, a := range map[kv.Kind]*txnArgs{kv.KindGet: o.Get, kv.KindPut: o.Put, kv.KindAppend: o.Append, kv.KindDelete: o.Delete} {
		if a != nil {
			given, op.Kind, args = given+1, kind, a
		}
	}
	if given != 1 {
		return op, errors.New("want one operation: get, put, append or delete")
	}
	var err error
	if op.Key, err = keyIn(args.KeyText); err != nil {
		return op, err
	}
	takesValue := op.Kind == kv.KindPut || op.Kind == kv.KindAppend
	if takesValue {
		op.Value, err = args.ValueText.Bytes()
	} else if args.ValueText.Given() {
		err = fmt.Errorf("%v takes no value", op.Kind)
	}
	return op, err
}

// decode returns the transaction. An error names the operation at fault.
func (t *txn) decode() (shardkv.Txn, error) {
	var out shardkv.Txn
	for i := range t.Compare {
		c, err := t.Compare[i].decode()
		if err != nil {
			return out, inTxn("compare", i, err)
		}
		out.If = append(out.If, c)
	}
	var err error
	if out.Then, err = decodeOps("success", t.Success); err != nil {
		return out, err
	}
	out.Else, err = decodeOps("failure", t.Failure)
	return out, err
}

func decodeOps(name string, ops []txnOp) ([]kv.Op, error) {
	all := make([]kv.Op, len(ops))
	for i := range ops {
		op, err := ops[i].decode()
		if err != nil {
			return nil, inTxn(name, i, err)
		}
		all[i] = op
	}
	return all, nil
}

// inTxn adds the place of an error in a transaction.
func inTxn(name string, i int, err error) *httpkv.Error {
	e := badRequest("%s[%d]: %v", name, i, err)
	if cause := (*httpkv.Error)(nil); errors.As(err, &cause) {
		e.Code, e.Status = cause.Code, cause.Status
	}
	return e
}

// keyIn returns a key that a transaction names.
func keyIn(k httpkv.KeyText) (string, error) {
	key, err := k.Bytes()
	if err != nil {
		return "", err
	}
	if bad := checkKey(key); bad != nil {
		return "", bad
	}
	return key, nil
}

// transact answers a transaction.
func (h *handler) transact(s Shards) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, err := readTxn(w, r)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), h.opts.Patience)
		defer cancel()
		result, err := s.Txn(ctx, t)
		if err != nil {
			return err
		}
		answer := httpkv.TxnAnswer{Succeeded: result.Succeeded, Results: make([]httpkv.TxnResult, len(result.Results))}
		ops := t.Then
		if !result.Succeeded {
			ops = t.Else
		}
		for i, r := range result.Results {
			one := httpkv.TxnResult{Status: "ok", Version: r.Version}
			if r.Code == kv.NotFound {
				one.Status = string(httpkv.NotFound)
			} else if ops[i].ReadOnly() {
				one.ValueText = httpkv.ValueTextOf(r.Value)
			}
			answer.Results[i] = one
		}
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
}

func readTxn(w http.ResponseWriter, r *http.Request) (shardkv.Txn, error) {
	if _, bad := parameters(r); bad != nil {
		return shardkv.Txn{}, bad
	}
	for _, name := range []string{"Idempotency-Key", "If-Match", "If-None-Match"} {
		if len(r.Header.Values(name)) > 0 {
			return shardkv.Txn{}, badRequest("a transaction takes no %s; compare a version that the transaction changes, and it takes effect at most once", name)
		}
	}
	body, bad := readBody(w, r, httpkv.MaxTxnBytes, "transaction")
	if bad != nil {
		return shardkv.Txn{}, bad
	}
	var t txn
	if err := decodeStrict(body, &t); err != nil {
		return shardkv.Txn{}, badRequest("the transaction: %v", err)
	}
	return t.decode()
}

// noTxn answers a transaction in a store without groups.
func noTxn(http.ResponseWriter, *http.Request) error {
	return failure(http.StatusNotImplemented, httpkv.NeedsGroups, "a store without groups has no transactions; raftlab serve --groups N starts a store with groups (one is enough)")
}
