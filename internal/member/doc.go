// Package member runs one member of a cluster as a process of its own: the log on
// disk (raft/wal), the port for the other members (raft/tcp), etcd's API
// (internal/etcdapi) and HTTP on one port for clients.
//
//	m, err := member.Start(member.Options{
//		Name: "n1", Data: "n1.data",
//		ListenPeer: "10.0.0.1:2380", Listen: "10.0.0.1:2379",
//		Cluster: map[string]string{"n1": "10.0.0.1:2380", "n2": "10.0.0.2:2380", "n3": "10.0.0.3:2380"},
//		...
//	})
//	err = m.Wait() // until Close, or a failure
//
// # Identity
//
// A data directory belongs to one member for ever. The file member.yaml in the
// directory holds the names of the cluster and of the member, and the member's id. The
// id of a first member follows from the two names. A member that is added later gets
// its id from the cluster.
//
// # Ports
//
// The port for members carries Raft's messages, and streams for the requests that
// members forward to each other. The port for clients carries gRPC and HTTP. Without
// TLS both listen on loopback addresses only, unless Options.Insecure is set.
package member
