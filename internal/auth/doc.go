// Package auth has the users, roles and permissions of a store, with the rules of etcd's
// v3 API, and the tokens of users.
//
//	s := auth.New()
//	s, err := s.Apply(auth.Change{Kind: auth.AddUser, User: "root", Hash: hash})
//	s, err = s.Apply(auth.Change{Kind: auth.GrantRole, User: "root", Role: "root"})
//	s, err = s.Apply(auth.Change{Kind: auth.Enable, Key: key})
//	err = s.Permit(auth.Identity{User: "alice", Revision: 7}, "orders/1", "", auth.Read)
//
// # State
//
// A [State] is immutable. [State.Apply] returns the next state, without clock, random
// numbers or IO, so replicas that apply the same changes have the same state. Passwords
// arrive as hashes of bcrypt.
//
// Each change raises the revision by one, except for [Enable]. A request carries the
// revision at which its user was identified. A request whose revision has been overtaken
// is refused with [ErrOldRevision], and the client identifies itself again. A permission
// that was revoked therefore counts from the next request on.
//
// # Root
//
// The role root has all permissions, on all keys and for administration. Access control
// can be enabled once a user root has the role root. While access control is enabled, the
// user and the role cannot be taken away.
//
// # Tokens
//
// [Tokens] issues and verifies the tokens of users. Simple tokens have a key in the
// state, so each replica verifies the tokens of all replicas, and no token has to be
// stored. JWT have a key of the operator.
package auth
