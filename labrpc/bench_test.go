package labrpc_test

import (
	"fmt"
	"sync"
	"testing"

	"raftlab/labrpc"
)

// BenchmarkCall makes small calls on a reliable network. The calls per second
// are the inverse of the time per operation.
func BenchmarkCall(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("ends=%d", n), func(b *testing.B) {
			rn := labrpc.MakeNetwork()
			defer rn.Cleanup()
			var names []any
			for i := range n {
				names = append(names, i)
			}
			_, ends := connect(rn, names...)
			callFrom(b, ends)
		})
	}
}

// callFrom makes the calls of a benchmark, through all ends at once.
func callFrom(b *testing.B, ends []*labrpc.ClientEnd) {
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, e := range ends {
		wg.Go(func() {
			for k := i; k < b.N; k += len(ends) {
				var reply string
				if !e.Call("JunkServer.ByValue", k, &reply) {
					b.Error("call failed")
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkChannel is a round trip between two goroutines, a bound for the
// speed of a call.
func BenchmarkChannel(b *testing.B) {
	there, back := make(chan int), make(chan int)
	go func() {
		for x := range there {
			back <- x
		}
	}()
	for k := 0; b.Loop(); k++ {
		there <- k
		<-back
	}
	close(there)
}
