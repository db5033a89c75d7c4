package auth

import (
	"fmt"
	"slices"

	"raftlab/internal/msgpack"
)

// Encode returns the encoding of a change.
func (c *Change) Encode() ([]byte, error) { return msgpack.Encode(c) }

// DecodeChange decodes a change.
func DecodeChange(data []byte) (Change, error) {
	var c Change
	if err := decode(data, &c); err != nil {
		return Change{}, err
	}
	if c.Kind == 0 || c.Kind > lastKind {
		return Change{}, fmt.Errorf("%w: the kind of change %d; want 1 to %d", ErrInvalid, c.Kind, lastKind)
	}
	return c, nil
}

func decode(data []byte, v any) error {
	rest, err := msgpack.DecodePrefix(data, v)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes are left", len(rest))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// stateFormat is the version of the encoding of a state.
const stateFormat = 1

// stateRecord is the encoding of a state.
type stateRecord struct {
	Format   uint8
	Enabled  bool
	Revision uint64
	Key      []byte
	Users    map[string]*User
	Roles    map[string][]Permission
}

// Encode returns the encoding of a state. Equal states have equal encodings.
func (s *State) Encode() ([]byte, error) {
	return msgpack.Encode(&stateRecord{stateFormat, s.enabled, s.revision, s.key, s.users, s.roles})
}

// DecodeState decodes a state.
func DecodeState(data []byte) (*State, error) {
	var r stateRecord
	if err := decode(data, &r); err != nil {
		return nil, err
	}
	if r.Format != stateFormat {
		return nil, fmt.Errorf("%w: a state of format %d; this version reads format %d", ErrInvalid, r.Format, stateFormat)
	}
	return r.state()
}

func (r *stateRecord) state() (*State, error) {
	s := &State{enabled: r.Enabled, revision: r.Revision, key: r.Key, users: r.Users, roles: r.Roles}
	for name, u := range s.users {
		if u == nil {
			return nil, fmt.Errorf("%w: the user %q is empty", ErrInvalid, name)
		}
		s.bytes += userBytes(name, u)
	}
	for name, all := range s.roles {
		s.bytes += roleBytes(name, all)
	}
	return s, nil
}

// Restore returns the state with the users and roles of another cluster. The key is the
// one of simple tokens. The tokens of the other cluster end.
func Restore(enabled bool, revision uint64, key []byte, users map[string]*User, roles map[string][]Permission) (*State, error) {
	for _, u := range users {
		u.Since = revision
		slices.Sort(u.Roles)
	}
	for name, all := range roles {
		slices.SortFunc(all, comparePermissions)
		for i, p := range all {
			if !p.valid() || i > 0 && comparePermissions(all[i-1], p) == 0 {
				return nil, fmt.Errorf("%w: the role %q has a permission for %q to %q", ErrInvalid, name, p.Key, p.End)
			}
		}
	}
	return (&stateRecord{stateFormat, enabled, revision, key, users, roles}).state()
}
