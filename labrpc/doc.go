// Package labrpc has servers, client ends, and two networks between them. A
// [Network] lies inside one program. Its messages meet the faults of a real
// network, on demand and from a seed. A [TCPNetwork] connects processes. A
// service runs on both networks without changes.
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
// A method without the reply takes one-way messages. ClientEnd.Send sends a one-way
// message and does not wait. Network.SetFIFO orders the messages of an end.
//
// # Timing
//
// Each message takes at least the network's latency, and up to a tenth more. The
// latency is zero in real time, and DefaultLatency in a testing/synctest bubble. A
// loop of calls that take no time would keep a bubble's clock from moving. Further
// delays and losses depend on the state of the network:
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
// # Between processes
//
// On a [TCPNetwork] the names are addresses. One process listens with a server,
// and any process makes ends for the address.
//
//	tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{})
//	defer tn.Close()
//	l, err := tn.Listen("127.0.0.1:7001", rs) // rs has all its services already
//	end := tn.MakeEnd("127.0.0.1:7002")       // connects with the first call
//
// TCPNetwork.MakeEnd is the make_end function of package shardkv.
//
// A request is sent at most once. The calls of all ends for one address share one
// connection and proceed at the same time. Call returns false when the
// connection breaks, when the server has been silent for
// TCPOptions.SilenceTimeout, and after TCPOptions.CallTimeout at the latest. A
// call to an address where nobody listens returns false within
// TCPOptions.RetryPause, or TCPOptions.HandshakeTimeout if the machine does not
// answer. Later calls connect again.
//
// Listeners and ends distrust the bytes of a connection. A connection begins with
// the version of the protocol. Garbage, incomplete frames, false lengths and
// frames that arrive too slowly end the connection. The sizes of frames, the
// calls under way and the connections are bounded.
//
// The network is made for laboratories. Nothing is encrypted, and nobody is
// authenticated. Listen therefore refuses addresses that other machines can
// reach, unless TCPOptions.BeyondLoopback is set. Faults, seeds, schedulers and
// taps belong to the simulated network. Package raft/node with raft/tcp is the
// choice for a service of your own. GOOS=wasip1 has no TCPNetwork.
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
// A call runs in the goroutine of its caller. Each delivery of a request runs its
// handler in one more goroutine, so a blocked handler delays only its own caller.
// In a testing/synctest bubble the goroutine ends with the handler. Elsewhere the
// goroutine serves further requests, and Cleanup ends idle ones. A copy of a request
// waits for its time in a third goroutine, which Cleanup ends.
//
// On a TCPNetwork a connection has three goroutines at its end and two at its
// listener, and Close waits for them. The goroutines of handlers serve further
// requests of the connection, and end after the connection.
package labrpc
