// Package clerk is the client's side of a service on package rsm. It defines the
// request and the reply, searches for the leader, and keeps a client's session, so
// that a command that is sent again takes effect once.
//
// A service's RPC handler takes [Args] and passes them to [Serve], which fills in
// the [Reply]. A service's clerk sends requests with [Ask] within a [Session].
package clerk
