//go:build !wasip1

package handler

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"raftlab/internal/httpkv"
)

// Members is the part of a store with groups in several processes whose processes can be
// changed.
type Members interface {
	Members() httpkv.Members
	AddMember(ctx context.Context, m httpkv.NewMember) error
	RemoveMember(ctx context.Context, name string) error
}

// maxMemberBytes bounds the body of a request for a new process.
const maxMemberBytes = 64 << 10

// routeMembers serves the paths of processes. Other stores have a nil m.
func (h *handler) routeMembers(m Members) {
	if m == nil {
		return
	}
	h.route(httpkv.MembersPath, methods{
		"GET": func(w http.ResponseWriter, r *http.Request) error {
			if _, bad := parameters(r); bad != nil {
				return bad
			}
			writeJSON(w, http.StatusOK, m.Members())
			return nil
		},
		"POST": h.addMember(m),
	})
	h.route(httpkv.MembersPath+"/{name}", methods{"DELETE": func(w http.ResponseWriter, r *http.Request) error {
		if _, bad := parameters(r); bad != nil {
			return bad
		}
		if bad := noBody(w, r); bad != nil {
			return bad
		}
		ctx, cancel := context.WithTimeout(r.Context(), h.opts.Patience)
		defer cancel()
		return noContent(w, m.RemoveMember(ctx, r.PathValue("name")))
	}})
}

// noContent answers a request whose answer has no content, unless there is an error.
func noContent(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// addMember answers a request for a new process.
func (h *handler) addMember(m Members) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, bad := parameters(r); bad != nil {
			return bad
		}
		body, bad := readBody(w, r, maxMemberBytes, "process")
		if bad != nil {
			return bad
		}
		var n httpkv.NewMember
		d := json.NewDecoder(strings.NewReader(body))
		d.DisallowUnknownFields()
		err := d.Decode(&n)
		if err == nil && d.More() {
			err = errors.New("there is more behind the process")
		}
		if err != nil {
			return badRequest("the process, in JSON: %v", err)
		}
		ctx, cancel := context.WithTimeout(r.Context(), h.opts.Patience)
		defer cancel()
		return noContent(w, m.AddMember(ctx, n))
	}
}
