// Package histories runs processes of raftlab serve under load from etcd's own client,
// breaks them in many ways, and checks all that the clients have seen: operations for
// linearizability, watches for order and completeness, and leases for not expiring early.
//
// An ordinary run takes some seconds. RAFTLAB_SOAK=1 runs for RAFTLAB_HISTORIES (default
// 10m). RAFTLAB_BINARY names the program to run, which otherwise is built.
package histories
