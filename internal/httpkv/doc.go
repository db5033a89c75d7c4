// Package httpkv is the protocol between a key/value server and its clients over
// HTTP: the [Client], which the command line uses, and the types of requests and
// answers. Package handler, below this one, answers the requests. docs/serve.md
// describes the protocol for authors of other clients.
//
// A key is the rest of the path, percent-encoded, so keys hold any bytes. A value
// is the body of a request or a response, byte for byte. A key's version is its
// ETag, and a write names the version that it depends on with If-Match. The
// Idempotency-Key header stands for a client session (thesis 6.3).
package httpkv
