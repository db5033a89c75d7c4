// Package httpkv is the HTTP face of the key/value store: the [Handler] that
// serves a cluster, the [Client] that the command line uses, and what both say
// to each other. docs/serve.md describes it for those who write clients of
// their own.
//
// A key is the rest of the path, percent-encoded, so that it may hold any bytes;
// a value is a request's or a response's body, as it is. A key's version is its
// ETag, and a write that depends on it says so with If-Match (thesis 6.3 calls
// for sessions; here the Idempotency-Key header stands for one).
package httpkv
