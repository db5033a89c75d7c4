// Package kvstore has what the stores behind the interface /v1 share: the errors of an
// operation, and sessions that make a write take effect once.
//
// [Do] executes an operation of package kv. Every write has a client session (see
// package rsm). The session is one of the store's own, or belongs to the client's
// idempotency key. So all retries, also the client's, are one write, whichever process
// of the store gets them.
package kvstore
