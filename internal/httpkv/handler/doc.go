// Package handler answers the requests of package httpkv: New returns the handler
// that serves a cluster over HTTP. docs/serve.md describes the protocol.
package handler
