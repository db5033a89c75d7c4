// Package clientport serves clients on one port: gRPC, etcd's JSON gateway, probes,
// figures, and pages of the server's own. A member of a cluster (package member) and the
// replicas in one process (package cluster) have such a port.
//
//	port, err := clientport.New(clientport.Options{Listener: listener, GRPC: g, Pages: pages, Logger: log})
//	go port.Serve()
//	err = port.Close(ctx)
package clientport
