// Package etcd tests the server of package etcdapi with etcd's own client. The
// package is in a module of its own, so that the project does not depend on the client.
package etcd
