// Package httpkv is the protocol between a key/value server and its clients over HTTP.
// The package has the [Client] of the command line, and the types of requests and
// answers. Package handler, below this one, answers the requests. docs/serve.md
// describes the protocol for authors of other clients.
//
// A key is the rest of the path, percent-encoded, so keys hold any bytes. A value is
// the body of a request or a response, byte for byte. A key's version is the ETag, and
// a conditional write names a version with If-Match. The Idempotency-Key header stands
// for a client session (thesis 6.3).
package httpkv
