// Package handler answers the requests of package httpkv. New returns the handler for a
// cluster. docs/serve.md describes the protocol.
package handler
