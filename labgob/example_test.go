package labgob_test

import (
	"bytes"
	"encoding/gob"
	"fmt"

	"raftlab/labgob"
)

// State is persisted as a stream of values, read back in the same order.
func Example() {
	var disk bytes.Buffer
	enc := labgob.NewEncoder(&disk)
	enc.Encode(7)
	enc.Encode([]string{"x=1", "y=2"})

	var term int
	var log []string
	dec := labgob.NewDecoder(&disk)
	fmt.Println(dec.Decode(&term), term)
	fmt.Println(dec.Decode(&log), log)
	fmt.Println(dec.Decode(&term))
	// Output:
	// <nil> 7
	// <nil> [x=1 y=2]
	// EOF
}

// A command is a value of any registered type, and comes back as such.
func ExampleMarshal() {
	type Set struct{ Key, Value string }
	labgob.Register(Set{})

	for _, command := range []any{7, "noop", Set{"x", "1"}, nil} {
		message, err := labgob.Marshal(command)
		if err != nil {
			fmt.Println(err)
			continue
		}
		back, err := labgob.Unmarshal(message)
		fmt.Printf("%T %+v %v\n", back, back, err)
	}
	// Output:
	// int 7 <nil>
	// string noop <nil>
	// labgob_test.Set {Key:x Value:1} <nil>
	// <nil> <nil> <nil>
}

// Every reader of gob reads labgob's streams.
func ExampleNewEncoder() {
	var buf bytes.Buffer
	labgob.NewEncoder(&buf).Encode(map[string]int{"a": 1})

	var got map[string]int
	fmt.Println(gob.NewDecoder(&buf).Decode(&got), got)
	// Output: <nil> map[a:1]
}
