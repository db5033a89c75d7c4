// Package node runs Raft groups in a service: the library's face.
package node
