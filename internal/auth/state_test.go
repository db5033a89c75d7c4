package auth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/auth"
	"raftlab/internal/testkit"
)

// apply applies changes that succeed.
func apply(t testing.TB, s *auth.State, all ...auth.Change) *auth.State {
	t.Helper()
	for _, c := range all {
		next, err := s.Apply(c)
		require.NoError(t, err, "%+v", c)
		s = next
	}
	return s
}

// rooted returns a state with access control enabled.
func rooted(t testing.TB) *auth.State {
	return apply(t, auth.New(),
		auth.Change{Kind: auth.AddUser, User: auth.Root, Hash: []byte("hash")},
		auth.Change{Kind: auth.GrantRole, User: auth.Root, Role: auth.Root},
		auth.Change{Kind: auth.Enable, Key: []byte("key")})
}

func grant(role, key, end string, access auth.Access) auth.Change {
	return auth.Change{Kind: auth.GrantPermission, Role: role, Permission: auth.Permission{Key: key, End: end, Access: access}}
}

// Each refused change leaves the state alone and has an error of its own.
func TestRefusedChanges(t *testing.T) {
	s := auth.New()
	_, err := s.Apply(auth.Change{Kind: auth.Enable})
	require.ErrorIs(t, err, auth.ErrRootUserMissing)
	s = apply(t, s, auth.Change{Kind: auth.AddUser, User: auth.Root})
	_, err = s.Apply(auth.Change{Kind: auth.Enable})
	require.ErrorIs(t, err, auth.ErrRootRoleMissing)
	s = apply(t, s, auth.Change{Kind: auth.GrantRole, User: auth.Root, Role: auth.Root},
		auth.Change{Kind: auth.AddRole, Role: auth.Root},
		auth.Change{Kind: auth.AddUser, User: "u"}, auth.Change{Kind: auth.AddRole, Role: "r"},
		grant("r", "a", "c", auth.Read))
	require.Equal(t, uint64(7), s.Revision())
	s = apply(t, s, auth.Change{Kind: auth.Enable})
	require.Equal(t, uint64(7), s.Revision(), "enabling is no change of users")
	for name, c := range map[string]struct {
		change auth.Change
		want   error
	}{
		"an unknown kind":             {auth.Change{Kind: 99}, auth.ErrInvalid},
		"a user without a name":       {auth.Change{Kind: auth.AddUser}, auth.ErrUserEmpty},
		"a user twice":                {auth.Change{Kind: auth.AddUser, User: "u"}, auth.ErrUserExists},
		"an unknown user's end":       {auth.Change{Kind: auth.DeleteUser, User: "x"}, auth.ErrUserNotFound},
		"the end of root":             {auth.Change{Kind: auth.DeleteUser, User: auth.Root}, auth.ErrManagement},
		"an unknown user's password":  {auth.Change{Kind: auth.SetPassword, User: "x"}, auth.ErrUserNotFound},
		"a role for nobody":           {auth.Change{Kind: auth.GrantRole, User: "x", Role: "r"}, auth.ErrUserNotFound},
		"an unknown role for a user":  {auth.Change{Kind: auth.GrantRole, User: "u", Role: "x"}, auth.ErrRoleNotFound},
		"a role that a user has not":  {auth.Change{Kind: auth.RevokeRole, User: "u", Role: "r"}, auth.ErrRoleNotGranted},
		"root without the role":       {auth.Change{Kind: auth.RevokeRole, User: auth.Root, Role: auth.Root}, auth.ErrManagement},
		"a role without a name":       {auth.Change{Kind: auth.AddRole}, auth.ErrRoleEmpty},
		"a role twice":                {auth.Change{Kind: auth.AddRole, Role: "r"}, auth.ErrRoleExists},
		"an unknown role's end":       {auth.Change{Kind: auth.DeleteRole, Role: "x"}, auth.ErrRoleNotFound},
		"the end of the role root":    {auth.Change{Kind: auth.DeleteRole, Role: auth.Root}, auth.ErrManagement},
		"a permission for no role":    {grant("x", "a", "", auth.Read), auth.ErrRoleNotFound},
		"a permission without a key":  {grant("r", "", "b", auth.Read), auth.ErrManagement},
		"an empty range":              {grant("r", "b", "a", auth.Read), auth.ErrManagement},
		"a permission for nothing":    {grant("r", "a", "", 0), auth.ErrManagement},
		"a permission of no kind":     {grant("r", "a", "", 4), auth.ErrManagement},
		"a permission that is not":    {auth.Change{Kind: auth.RevokePermission, Role: "r", Permission: auth.Permission{Key: "a"}}, auth.ErrNotGranted},
		"more than the state may be":  {auth.Change{Kind: auth.AddUser, User: strings.Repeat("x", 17<<20)}, auth.ErrTooLarge},
		"a permission that is larger": {grant("r", "a", "b"+strings.Repeat("x", 17<<20), auth.Read), auth.ErrTooLarge},
	} {
		next, err := s.Apply(c.change)
		require.ErrorIs(t, err, c.want, name)
		require.Same(t, s, next, name)
	}
	next := apply(t, s, auth.Change{Kind: auth.GrantRole, User: auth.Root, Role: auth.Root}, auth.Change{Kind: auth.Enable})
	require.Same(t, s, next, "changes that change nothing")
}

// A change never alters an earlier state.
func TestStatesAreImmutable(t *testing.T) {
	s := apply(t, rooted(t), auth.Change{Kind: auth.AddRole, Role: "r"}, grant("r", "a", "b", auth.Read),
		auth.Change{Kind: auth.AddUser, User: "u"}, auth.Change{Kind: auth.GrantRole, User: "u", Role: "r"})
	before, err := s.Encode()
	require.NoError(t, err)
	next := apply(t, s, grant("r", "a", "b", auth.Write), grant("r", "0", "", auth.Read),
		auth.Change{Kind: auth.RevokePermission, Role: "r", Permission: auth.Permission{Key: "a", End: "b"}},
		auth.Change{Kind: auth.SetPassword, User: "u", Hash: []byte("h")},
		auth.Change{Kind: auth.DeleteRole, Role: "r"}, auth.Change{Kind: auth.DeleteUser, User: "u"}, auth.Change{Kind: auth.Disable})
	require.Equal(t, s.Revision()+7, next.Revision())
	require.False(t, next.Enabled())
	after, err := s.Encode()
	require.NoError(t, err)
	require.Equal(t, before, after)
	back, err := auth.DecodeState(before)
	require.NoError(t, err)
	again, err := back.Encode()
	require.NoError(t, err)
	require.Equal(t, before, again)
	require.Equal(t, []string{"root", "u"}, back.Users())
	require.Equal(t, []string{"r"}, back.Roles())
	require.True(t, back.HasRole("u", "r"))
}

func TestAdministration(t *testing.T) {
	off := auth.New()
	require.NoError(t, off.Administer(auth.Identity{}))
	require.NoError(t, off.Permit(auth.Identity{}, "a", "", auth.ReadWrite))
	require.NoError(t, off.Known(auth.Identity{}))
	s := apply(t, rooted(t), auth.Change{Kind: auth.AddUser, User: "u"})
	require.ErrorIs(t, s.Known(auth.Identity{}), auth.ErrUserEmpty)
	require.ErrorIs(t, s.Administer(auth.Identity{}), auth.ErrUserEmpty)
	require.ErrorIs(t, s.Administer(auth.Identity{User: "x"}), auth.ErrUserNotFound)
	require.ErrorIs(t, s.Administer(auth.Identity{User: "u"}), auth.ErrPermissionDenied)
	require.NoError(t, s.Administer(auth.Identity{User: "root"}))
	now := s.Revision()
	require.ErrorIs(t, s.Permit(auth.Identity{}, "a", "", auth.Read), auth.ErrUserEmpty)
	require.ErrorIs(t, s.Permit(auth.Identity{User: "root", Revision: now - 1}, "a", "", auth.Read), auth.ErrOldRevision)
	require.NoError(t, s.Permit(auth.Identity{User: "root", Revision: now}, "a", "\x00", auth.ReadWrite))
	require.ErrorIs(t, s.Permit(auth.Identity{User: "nobody", Revision: now}, "a", "", auth.Read), auth.ErrPermissionDenied)
}

// The permissions of all roles of a user together allow what a check of each key allows.
func TestPermissionsAgainstKeys(t *testing.T) {
	r := testkit.Rand(t)
	keys := []string{"\x00", "a", "a\x00", "ab", "b", "c", "ca", "d", "e"}
	ends := append([]string{""}, keys...)
	for range 300 {
		s := apply(t, rooted(t), auth.Change{Kind: auth.AddUser, User: "u"})
		var all []auth.Permission
		for i := range 1 + r.IntN(3) {
			role := fmt.Sprint("r", i)
			s = apply(t, s, auth.Change{Kind: auth.AddRole, Role: role}, auth.Change{Kind: auth.GrantRole, User: "u", Role: role})
			for range r.IntN(3) {
				p := auth.Permission{Key: keys[r.IntN(len(keys))], End: ends[r.IntN(len(ends))], Access: auth.Access(1 + r.IntN(3))}
				next, err := s.Apply(auth.Change{Kind: auth.GrantPermission, Role: role, Permission: p})
				if err == nil {
					s = next
				}
			}
			granted, _ := s.Role(role)
			all = append(all, granted...)
		}
		who := auth.Identity{User: "u", Revision: s.Revision()}
		for _, key := range keys {
			for _, end := range ends {
				if end != "" && end != "\x00" && end <= key {
					continue
				}
				for access := auth.Read; access <= auth.ReadWrite; access++ {
					want := allowed(all, key, end, access)
					got := s.Permit(who, key, end, access)
					require.Equal(t, want, got == nil, "%q to %q, access %d, of %q", key, end, access, all)
				}
			}
		}
	}
}

// allowed walks over all places at which a permission may begin or end.
func allowed(all []auth.Permission, key, end string, access auth.Access) bool {
	within := func(k, from, to string) bool {
		switch to {
		case "":
			return k == from
		case "\x00":
			return k >= from
		}
		return k >= from && k < to
	}
	places := []string{key, "zzz"}
	for _, p := range all {
		places = append(places, p.Key, p.Key+"\x00", p.Key+"\x00\x00", p.End, p.End+"\x00")
	}
	for _, place := range places {
		if !within(place, key, end) {
			continue
		}
		for bit := auth.Read; bit <= auth.Write; bit <<= 1 {
			ok := access&bit == 0
			for _, p := range all {
				ok = ok || p.Access&bit != 0 && within(place, p.Key, p.End)
			}
			if !ok {
				return false
			}
		}
	}
	return true
}

// No encoding stops a member.
func FuzzDecode(f *testing.F) {
	c := grant("r", "a", "b", auth.Read)
	change, err := c.Encode()
	require.NoError(f, err)
	state, err := rooted(f).Encode()
	require.NoError(f, err)
	f.Add(change)
	f.Add(state)
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := auth.DecodeChange(data); err == nil {
			if s, err := rooted(t).Apply(c); err == nil {
				_, err := s.Encode()
				require.NoError(t, err)
			}
		}
		if s, err := auth.DecodeState(data); err == nil {
			_ = s.Permit(auth.Identity{User: "u", Revision: s.Revision()}, "a", "b", auth.Read)
			_, err := s.Apply(auth.Change{Kind: auth.DeleteRole, Role: "r"})
			_ = err
		}
	})
}
