// Package etcd tests the server of internal/etcdapi with etcd's own client. The package
// has a module of its own, because the project does not depend on the client.
package etcd
