//go:build !wasip1

package httpkv

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// MembersPath is where a store with groups in several processes has its processes.
const MembersPath = "/v1/members"

// Members is the answer to GET [MembersPath].
type Members struct {
	Cluster string `json:"cluster"`
	// ClusterNumber is that of a restored or recovered store, "" for others.
	ClusterNumber string        `json:"cluster_number,omitempty"`
	Groups        int           `json:"groups"`
	Members       []StoreMember `json:"members"`
}

// StoreMember is a process of a store with groups.
type StoreMember struct {
	Name    string `json:"name"`
	ID      string `json:"id"` // in hexadecimal
	Address string `json:"address"`
	// Learner is set while the process votes in no group.
	Learner bool `json:"learner,omitempty"`
	// Groups are those with the process as a member, all of them unless the processes are
	// being changed.
	Groups []string `json:"groups"`
}

// NewMember is a process to be added to a store, as the body of POST [MembersPath].
type NewMember struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Address string `json:"address"`
	// Replaces is the name of a process that is removed in the same change, "" for none.
	Replaces string `json:"replaces,omitempty"`
	// ReplacesID is the id of that process, "" for the process that has the name now.
	ReplacesID string `json:"replaces_id,omitempty"`
	// Check has the store say whether it would make the change, without a change.
	Check bool `json:"check,omitempty"`
}

// Members returns the processes of a store with groups.
func (c *Client) Members(ctx context.Context) (Members, error) {
	var m Members
	err := c.get(ctx, MembersPath, &m, "cluster", "groups", "members")
	return m, err
}

// AddMember adds a process, or has the process replace another one. The client repeats the
// request until the change is complete.
func (c *Client) AddMember(ctx context.Context, m NewMember) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	got, err := c.send(ctx, call{
		method: http.MethodPost, path: MembersPath, body: body, writes: !m.Check,
		header: http.Header{"Content-Type": {"application/json"}},
	})
	if err != nil {
		return err
	}
	return got.empty()
}

// RemoveMember removes a process. The client repeats the request until the change is
// complete.
func (c *Client) RemoveMember(ctx context.Context, name string) error {
	got, err := c.send(ctx, call{method: http.MethodDelete, path: MembersPath + "/" + url.PathEscape(name), writes: true})
	if refused, ok := err.(*Error); ok && refused.Code == NoMember && got.unsure {
		return nil // an earlier try, whose answer was lost, made the change
	}
	if err != nil {
		return err
	}
	return got.empty()
}
