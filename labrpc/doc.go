// Package labrpc is a network inside a program, with servers and client ends.
// Between the two, messages meet the faults of a real network, on demand and
// from a seed.
//
// # Use
//
// A server is a set of services. A service is any value with methods of the
// shape
//
//	func (t *T) Method(args A, reply *R)
//
// where A may be a pointer. Callers name the method "T.Method". Package labgob
// encodes arguments and replies, so ends share no memory.
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
// Each message takes at least the network's latency. The latency is zero in real
// time, and DefaultLatency in a testing/synctest bubble. A loop of calls that
// take no time would keep a bubble's clock from moving. Further delays and losses
// depend on the state of the network:
//
//   - After Reliable(false), a request is delayed by 0 to 26 ms. A request is
//     lost with 10 %, and a reply is lost with 10 %. Call returns false when the
//     message is lost.
//   - After LongReordering(true), two replies in three are late by 200 ms plus
//     up to 2 s.
//   - For a disabled end, a missing server or a cut direction, Call returns false
//     after 0 to 99 ms. After LongDelays(true), the limit is 6999 ms.
//   - A call under way returns false at once if its end is disabled or deleted,
//     if its server is deleted, or if the network is cleaned up. The reply is not
//     delivered. Calls are notified; nothing polls.
//
// SetFaults and SetLinkFaults set other numbers, and duplicates.
//
// # Seeds
//
// The fate of call number n of a link is a function of the network's seed, the
// link and n. The order of MakeEnd numbers the links, because harnesses name ends
// at random. Each kind of fault draws from a stream of its own. For example,
// delays do not change if losses are turned off. The schedule of the calling
// goroutines still decides the number of a call.
//
// # Schedulers and taps
//
// A Scheduler sees each message and decides its fate. The scheduler delivers a
// message now, later, never or twice, or holds the message until the test
// releases the hold. A scheduler may also change the network between two
// messages. A tap sees every event, and Record keeps the events as a trace to
// print.
//
// # Goroutines
//
// A call runs in the goroutine of its caller. Each delivery of a request has one
// more goroutine, which runs the handler and ends with the handler. A blocked
// handler therefore delays only its own caller. A copy of a request waits for its
// time in a third goroutine, which Cleanup ends.
package labrpc
