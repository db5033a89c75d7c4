//go:build !wasip1

package httpkv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"raftlab/kv"
	"raftlab/shardkv"
)

// MaxTxnBytes is the size of the longest transaction, as JSON.
const MaxTxnBytes = 4 << 20

// txn is a transaction as a request has it: etcd's compare, success and failure,
// with text where that has base64.
type txn struct {
	Compare []comparison `json:"compare"`
	Success []txnOp      `json:"success"`
	Failure []txnOp      `json:"failure"`
}

// comparison is of a key's value or version, whichever is given.
type comparison struct {
	keyText
	valueText
	Version *uint64 `json:"version"`
	Result  string  `json:"result"` // "": EQUAL
}

// txnOp is one operation: one of its fields is there.
type txnOp struct {
	Get    *txnArgs `json:"get"`
	Put    *txnArgs `json:"put"`
	Append *txnArgs `json:"append"`
	Delete *txnArgs `json:"delete"`
}

type txnArgs struct {
	keyText
	valueText
}

// TxnAnswer is the answer to a transaction that was carried out.
type TxnAnswer struct {
	Succeeded bool        `json:"succeeded"` // all comparisons held
	Results   []TxnResult `json:"results"`   // of success, or of failure
}

// TxnResult is what became of one operation of a transaction.
type TxnResult struct {
	Status string `json:"status"` // "ok" or "not_found"
	valueText
	// Version is the key's. Of what the transaction wrote it is left out if the keys
	// are in several shards: each has a count of its own.
	Version uint64 `json:"version,omitempty"`
}

var relations = map[string]shardkv.Relation{
	"": shardkv.Equal, "EQUAL": shardkv.Equal, "NOT_EQUAL": shardkv.NotEqual, "LESS": shardkv.Less, "GREATER": shardkv.Greater,
}

func (c *comparison) decode() (shardkv.Compare, error) {
	key, err := c.key()
	if err != nil {
		return shardkv.Compare{}, err
	}
	relation, known := relations[c.Result]
	hasValue := c.Value != nil || c.ValueBase64 != nil
	switch {
	case !known:
		return shardkv.Compare{}, fmt.Errorf("result is %q; want EQUAL, NOT_EQUAL, LESS or GREATER", c.Result)
	case hasValue == (c.Version != nil):
		return shardkv.Compare{}, errors.New("want a value or a version to compare with")
	case c.Version != nil:
		return shardkv.CompareVersion(key, relation, *c.Version), nil
	}
	value, err := c.value()
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
		return op, errors.New("want one of get, put, append and delete")
	}
	var err error
	if op.Key, err = args.key(); err != nil {
		return op, err
	}
	takesValue := op.Kind == kv.KindPut || op.Kind == kv.KindAppend
	if takesValue {
		op.Value, err = args.value()
	} else if args.Value != nil || args.ValueBase64 != nil {
		err = fmt.Errorf("%v takes no value", op.Kind)
	}
	return op, err
}

// decode returns the transaction, or says where it is not one.
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

// inTxn says where in a transaction an error is.
func inTxn(name string, i int, err error) *Error {
	e := failure(http.StatusBadRequest, BadRequest, "%s[%d]: %v", name, i, err)
	if cause := (*Error)(nil); errors.As(err, &cause) {
		e.Code, e.status = cause.Code, cause.status
	}
	return e
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
		answer := TxnAnswer{Succeeded: result.Succeeded, Results: make([]TxnResult, len(result.Results))}
		ops := t.Then
		if !result.Succeeded {
			ops = t.Else
		}
		for i, r := range result.Results {
			one := TxnResult{Status: "ok", Version: r.Version}
			if r.Status == kv.NotFound {
				one.Status = string(NotFound)
			} else if ops[i].ReadOnly() {
				one.valueText = valueTextOf(r.Value)
			}
			answer.Results[i] = one
		}
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
}

func readTxn(w http.ResponseWriter, r *http.Request) (shardkv.Txn, error) {
	if r.Header.Get("Idempotency-Key") != "" {
		return shardkv.Txn{}, failure(http.StatusBadRequest, BadRequest,
			"a transaction takes no Idempotency-Key: compare a version that it changes, and it takes effect once")
	}
	body, bad := readBody(w, r, MaxTxnBytes, "transaction")
	if bad != nil {
		return shardkv.Txn{}, bad
	}
	var t txn
	dec := json.NewDecoder(bytes.NewReader([]byte(body)))
	dec.DisallowUnknownFields()
	err := dec.Decode(&t)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("something follows its end")
		}
	}
	if err != nil {
		return shardkv.Txn{}, failure(http.StatusBadRequest, BadRequest, "the transaction: %v", err)
	}
	return t.decode()
}

// noTxn answers for a store that has no groups.
func noTxn(http.ResponseWriter, *http.Request) error {
	return failure(http.StatusNotImplemented, NeedsGroups, "this store has no transactions; raftlab serve --groups starts one that has (--groups 1 will do)")
}

// Txn has a transaction carried out, which is JSON as the server takes it. It is
// not tried again after an error, as it might take effect twice.
func (c *Client) Txn(ctx context.Context, transaction []byte) (TxnAnswer, error) {
	var answer TxnAnswer
	resp, body, err := c.try(ctx, http.MethodPost, "/v1/txn", nil, transaction)
	switch {
	case err != nil:
		return answer, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case resp.StatusCode == http.StatusServiceUnavailable:
		return answer, fmt.Errorf("%w: %w", ErrUnavailable, decodeError(resp, body))
	case resp.StatusCode >= 400:
		return answer, decodeError(resp, body)
	}
	return answer, json.Unmarshal(body, &answer)
}
