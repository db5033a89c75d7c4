// Package clerk is the client's side of a service on package rsm, and what goes
// over the network between the two: the request and its answer, the search for
// the server that leads, and a client's session, by which a command that is sent
// again takes effect once.
//
// A service's RPC handler takes [Args] and answers with a [Reply], which
// [Serve] fills in. Its clerk asks through [Ask], in a [Session].
package clerk
