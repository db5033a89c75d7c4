// Package clerk is the client's side of a service on package rsm. The package
// defines the request and the reply, searches for the leader, and keeps a client's
// session. Thanks to the session, a retried command takes effect once.
//
// A service's RPC handler takes [Args] and calls [Serve] to fill in the [Reply]. A
// service's clerk sends requests with [Ask] within a [Session].
package clerk
