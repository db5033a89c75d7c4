// Package labrpc is a network inside a program: servers, the ends of their
// clients, and between them everything that a real network does to messages,
// on demand and from a seed.
//
// # Use
//
// A server is a set of services; a service is any value with methods of the
// shape
//
//	func (t *T) Method(args A, reply *R)
//
// where A may be a pointer. It is called as "T.Method". Arguments and replies
// travel encoded by labgob, so ends share no memory.
//
//	rn := labrpc.MakeNetwork()
//	defer rn.Cleanup()
//
//	rs := labrpc.MakeServer()
//	rs.AddService(labrpc.MakeService(kv)) // kv is a *KVServer
//	rn.AddServer("server-0", rs)
//
//	end := rn.MakeEnd("client-0")
//	rn.Connect("client-0", "server-0")
//	rn.Enable("client-0", true)
//	ok := end.Call("KVServer.Get", GetArgs{Key: "x"}, &reply)
//
// Names of ends and servers are any comparable values.
//
// # Timing
//
// Each message takes the network's latency: none in real time, DefaultLatency
// in a testing/synctest bubble, where a loop of calls that take no time would
// keep the clock from moving. On top of that:
//
//   - Reliable(false): a request is delayed by 0 to 26 ms, then lost with 10 %;
//     a reply is lost with 10 %. Call returns false when the message is lost.
//   - LongReordering(true): two replies in three are late by 200 ms plus up to 2 s.
//   - A disabled end, a server that does not exist, a direction that is cut:
//     Call returns false after 0 to 99 ms, with LongDelays(true) after 0 to 6999 ms.
//   - The end of a call under way is disabled or deleted, its server deleted,
//     or the network cleaned up: Call returns false at once, and the reply is not
//     delivered. Nothing polls for this.
//
// SetFaults and SetLinkFaults set other numbers, and duplicates.
//
// # Seeds
//
// What happens to call number n of a link is a function of the network's seed,
// the link and n. A link is known by the order in which its end was made,
// since harnesses name ends at random. Each kind of fault draws from a stream
// of its own: without losses, delays stay what they were. Which call becomes
// number n is up to the goroutines that make the calls.
//
// # The adversary, and the witness
//
// A Scheduler sees each message and decides what becomes of it: now, later,
// never, twice, or held until the test says so. It may cut and mend the
// network between two messages. A tap sees everything that happens, and Record
// keeps it as a trace to print.
//
// # Goroutines
//
// A call runs in the goroutine of its caller. Each delivery of a request has
// one more, which runs the handler and ends with it: a handler that blocks
// keeps only its own caller waiting. A copy of a request waits for its time in
// a third, which Cleanup ends.
package labrpc
