package trace_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/trace"
)

// A recording holds the newest events as they were, with repeated, long and empty texts
// and bodies.
func TestNewestEventsStay(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	rec := trace.NewRecorder(trace.Options{})
	body := func() []byte {
		switch random.IntN(40) {
		case 0:
			return bytes.Repeat([]byte{byte(random.IntN(3))}, 20_000+random.IntN(100_000))
		case 1, 2, 3:
			return nil
		}
		return fmt.Appendf(nil, "body %d of a message", random.IntN(300))
	}
	var all []trace.Event
	for i := range 20_000 {
		e := trace.Event{
			Time: time.Duration(i), Kind: trace.Kind(1 + random.IntN(5)), Lane: random.IntN(9) - 1, Peer: random.IntN(9),
			Message: random.Uint64(), Call: uint64(i), Reply: i%3 == 0, Copy: i%5 == 0, Leads: i%7 == 0,
			Name: fmt.Sprint("Raft.M", random.IntN(3)), Term: i, Index: -i, Data: body(),
		}
		if i%11 == 0 {
			e.Text, e.Fields, e.Entries = string(body()), fields{trace.FieldTerm: i}, []trace.Entry{{Term: i, Command: "c"}}
		}
		rec.Add(e)
		all = append(all, e)
	}
	run := rec.Recording()
	require.Positive(t, run.Omitted)
	require.Greater(t, len(run.Events), 2_000)
	require.Equal(t, len(all), run.Omitted+len(run.Events))
	for i, e := range run.Events {
		require.Equal(t, all[run.Omitted+i], e)
	}
}

// The caller may use the memory of a body again.
func TestBodiesAreCopied(t *testing.T) {
	rec := trace.NewRecorder(trace.Options{})
	data := []byte("first")
	rec.Add(trace.Event{Kind: trace.Sent, Data: data})
	copy(data, "xxxxx")
	rec.Add(trace.Event{Kind: trace.Sent, Data: data})
	events := rec.Recording().Events
	require.Equal(t, "first", string(events[0].Data))
	require.Equal(t, "xxxxx", string(events[1].Data))
}

// BenchmarkAdd adds the events of calls: a request with a body, a reply, and their deliveries.
func BenchmarkAdd(b *testing.B) {
	rec := trace.NewRecorder(trace.Options{})
	lane := rec.Lane("S0", trace.Server)
	request := bytes.Repeat([]byte("x"), 200)
	b.ReportAllocs()
	for i := range b.N {
		e := trace.Event{Time: time.Duration(i), Kind: trace.Sent, Lane: lane, Message: uint64(i), Call: uint64(i), Name: "Raft.AppendEntries"}
		if i%4 == 0 {
			request[199] = byte(i)
			e.Data = request
		}
		rec.Add(e)
	}
}
