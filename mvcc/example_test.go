package mvcc_test

import (
	"bytes"
	"fmt"
	"math"

	"raftlab/mvcc"
)

func Example() {
	s := mvcc.New()
	_, _ = s.Put(mvcc.PutRequest{Key: "color", Value: "red"})
	_, _ = s.Put(mvcc.PutRequest{Key: "color", Value: "blue"})
	v := s.View()
	for _, revision := range []int64{2, 3} {
		r, err := v.Range(mvcc.RangeRequest{Key: "color", Revision: revision})
		fmt.Println(revision, r.KVs[0].Value, err)
	}
	// Output:
	// 2 red <nil>
	// 3 blue <nil>
}

// A transaction creates a key if nobody else has created it.
func ExampleStore_Txn() {
	s := mvcc.New()
	acquire := func(owner string) mvcc.TxnResult {
		r, _ := s.Txn(mvcc.TxnRequest{
			Compares: []mvcc.Compare{{Key: "lock", Field: mvcc.FieldCreateRevision, Number: 0}},
			Then:     []mvcc.Op{{Put: &mvcc.PutRequest{Key: "lock", Value: owner}}},
			Else:     []mvcc.Op{{Range: &mvcc.RangeRequest{Key: "lock"}}},
		})
		return r
	}
	fmt.Println(acquire("ann").Succeeded)
	r := acquire("bob")
	fmt.Println(r.Succeeded, r.Results[0].Range.KVs[0].Value)
	// Output:
	// true
	// false ann
}

func ExampleView_Events() {
	s := mvcc.New()
	_, _ = s.Put(mvcc.PutRequest{Key: "a", Value: "1"})
	_, _ = s.Put(mvcc.PutRequest{Key: "a", Value: "2"})
	_, _ = s.Delete(mvcc.DeleteRequest{Key: "a"})
	v := s.View()
	events, _ := v.Events(3, math.MaxInt64)
	for e := range events {
		fmt.Println(e.KV.ModRevision, e.KV.Key, e.Deleted, e.KV.Value, v.Prev(e).Value)
	}
	// Output:
	// 3 a false 2 1
	// 4 a true  2
}

func ExampleRestore() {
	s := mvcc.New()
	_, _ = s.Put(mvcc.PutRequest{Key: "a", Value: "1"})
	var snapshot bytes.Buffer
	_, _ = s.View().WriteTo(&snapshot)
	again, err := mvcc.Restore(&snapshot)
	fmt.Println(again.Revision(), err)
	// Output: 2 <nil>
}

// A log replicates commands as bytes. Every replica applies the same commands.
func ExampleStore_Apply() {
	command := mvcc.Command{Put: &mvcc.PutRequest{Key: "a", Value: "1"}}
	entry, _ := command.Append(nil)
	for range 2 {
		replica := mvcc.New()
		decoded, _ := mvcc.Decode(entry)
		result, err := replica.Apply(decoded)
		fmt.Println(result.Revision, err)
	}
	// Output:
	// 2 <nil>
	// 2 <nil>
}
