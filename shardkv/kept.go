package shardkv

import "raftlab/kv"

// The values that a transaction reads go from the participants straight to the
// client. Neither a log entry nor a client session holds values. After a lost answer
// the client asks again. So each participant keeps the values of the newest
// transactions, up to a bound in bytes.

// Values are the values that operations read. Each distinct value is sent once.
type Values struct {
	Distinct []string
	Of       []int // for each operation, 1 + the index of its value in Distinct; 0 if the value is ""
}

// packValues returns the values of results.
func packValues(results []kv.Result) *Values {
	v := &Values{Of: make([]int, len(results))}
	index := make(map[string]int)
	for i, r := range results {
		if r.Value == "" {
			continue
		}
		if index[r.Value] == 0 {
			v.Distinct = append(v.Distinct, r.Value)
			index[r.Value] = len(v.Distinct)
		}
		v.Of[i] = index[r.Value]
	}
	return v
}

// value returns the value of operation i. ok is false if there is no such
// operation or value.
func (v *Values) value(i int) (value string, ok bool) {
	switch {
	case v == nil || i >= len(v.Of) || v.Of[i] < 0 || v.Of[i] > len(v.Distinct):
		return "", false
	case v.Of[i] == 0:
		return "", true
	}
	return v.Distinct[v.Of[i]-1], true
}

// size returns the bytes that the values take in memory.
func (v *Values) size() int {
	size := valuesOverhead + 8*len(v.Of)
	for _, value := range v.Distinct {
		size += len(value)
	}
	return size
}

// valuesOverhead counts for the bookkeeping of one transaction's values.
const valuesOverhead = 128

// maxKeptBytes bounds the values of each keptValues. The newest values are kept
// whatever their size. MaxTxnResultBytes bounds that size.
const maxKeptBytes = 4 << 20

// keptValues maps transactions to the values that they read. The oldest values
// are dropped when the total exceeds maxKeptBytes.
type keptValues struct {
	order []keptEntry // oldest first
	byID  map[TxnID]*Values
	bytes int
}

// keptEntry holds the values that one transaction read.
type keptEntry struct {
	ID     TxnID
	Values *Values
}

func newKeptValues(entries []keptEntry) *keptValues {
	k := &keptValues{byID: make(map[TxnID]*Values)}
	for _, e := range entries {
		k.put(e.ID, e.Values)
	}
	return k
}

// put adds the values of a transaction.
func (k *keptValues) put(id TxnID, v *Values) {
	if k.byID[id] != nil || v == nil {
		return
	}
	k.order = append(k.order, keptEntry{id, v})
	k.byID[id] = v
	k.bytes += v.size()
	for k.bytes > maxKeptBytes && len(k.order) > 1 {
		oldest := k.order[0]
		k.bytes -= oldest.Values.size()
		delete(k.byID, oldest.ID)
		k.order[0] = keptEntry{}
		k.order = k.order[1:]
	}
}
