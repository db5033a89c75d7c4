// Package console is the page of a server for people: the members and their logs, the rate
// and the latency of writes, watches, leases and alarms, and the keys, to browse and to
// edit. The page polls GET /ui/state. It changes things by the interface /v1 (package
// httpkv/handler), which checks each request.
//
// A store with groups has a page of its own, which shows the groups, the places of the
// shards, moves and logs, and needs no script.
//
// The page is plain HTML, CSS and one script, embedded in the program. A browser loads
// nothing from elsewhere, which a Content-Security-Policy enforces.
package console
