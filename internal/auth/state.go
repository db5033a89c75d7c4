package auth

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Names with a meaning.
const (
	Root    = "root" // the user and the role that may do everything
	openEnd = "\x00" // as the end of a range, stands for the end of all keys
)

// maxStateBytes bounds the names, hashes and ranges of a state.
const maxStateBytes = 16 << 20

// Errors of changes and checks.
var (
	// ErrTooLarge is the error of a change that makes the state larger than 16 MiB.
	ErrTooLarge = errors.New("auth: users and roles take more than 16 MiB")
	// ErrInvalid is matched by the error of a damaged change or state.
	ErrInvalid = errors.New("auth: invalid encoding")

	ErrRootUserMissing  = errors.New("auth: the user root does not exist")
	ErrRootRoleMissing  = errors.New("auth: the user root has not the role root")
	ErrUserExists       = errors.New("auth: the user exists already")
	ErrUserEmpty        = errors.New("auth: the name of the user is empty")
	ErrUserNotFound     = errors.New("auth: the user is not found")
	ErrRoleExists       = errors.New("auth: the role exists already")
	ErrRoleEmpty        = errors.New("auth: the name of the role is empty")
	ErrRoleNotFound     = errors.New("auth: the role is not found")
	ErrRoleNotGranted   = errors.New("auth: the user has not the role")
	ErrNotGranted       = errors.New("auth: the role has not the permission")
	ErrNoPermission     = errors.New("auth: the request has no permission")
	ErrManagement       = errors.New("auth: the change is not allowed")
	ErrNotEnabled       = errors.New("auth: access control is not enabled")
	ErrPermissionDenied = errors.New("auth: permission denied")
	ErrOldRevision      = errors.New("auth: the user was identified at an old revision")
	ErrFailed           = errors.New("auth: wrong name or password")
	// ErrNoPassword is the error of a password for a user without one.
	ErrNoPassword = errors.New("auth: authentication failed, password was given for no password user")
	// ErrToken is matched by the error of a token that is damaged, forged or expired.
	ErrToken = errors.New("auth: invalid token")
)

// Access is what a permission allows on keys.
type Access uint8

// Kinds of access. ReadWrite is both of the others.
const (
	Read Access = 1 << iota
	Write
	ReadWrite = Read | Write
)

// Permission allows access to the keys of a range. An empty End stands for the single
// Key, and the byte 0 for all keys from Key on.
type Permission struct {
	Key, End string
	Access   Access
}

// User is a user.
type User struct {
	Hash       []byte // of the password, from bcrypt
	NoPassword bool   // the user is identified by a certificate alone
	Roles      []string
	Since      uint64 // revision of the user's creation, or of the last change of the password
}

// Identity is a user as identified at a revision. The zero Identity is a caller without a
// name.
type Identity struct {
	User     string
	Revision uint64
}

// State is the users and roles at a revision. A State never changes, and any goroutine
// may use it.
type State struct {
	enabled  bool
	revision uint64
	key      []byte // of simple tokens
	users    map[string]*User
	roles    map[string][]Permission // sorted by Key and End
	bytes    int

	merged sync.Map // of a user's name to a *grants, filled by reads
}

// New returns the state without users, with access control disabled.
func New() *State { return &State{revision: 1} }

// Enabled reports whether requests are checked.
func (s *State) Enabled() bool { return s.enabled }

// Revision returns the revision.
func (s *State) Revision() uint64 { return s.revision }

// User returns a user.
func (s *State) User(name string) (*User, bool) {
	u, ok := s.users[name]
	return u, ok
}

// Users returns the names of all users, sorted.
func (s *State) Users() []string { return slices.Sorted(maps.Keys(s.users)) }

// Role returns the permissions of a role.
func (s *State) Role(name string) ([]Permission, bool) {
	p, ok := s.roles[name]
	return p, ok
}

// Roles returns the names of all roles, sorted.
func (s *State) Roles() []string { return slices.Sorted(maps.Keys(s.roles)) }

// HasRole reports whether a user has a role.
func (s *State) HasRole(user, role string) bool {
	u, ok := s.users[user]
	return ok && slices.Contains(u.Roles, role)
}

// Known returns an error if access control is enabled and the caller has no name.
func (s *State) Known(who Identity) error {
	if s.enabled && who.User == "" {
		return ErrUserEmpty
	}
	return nil
}

// Administer returns an error unless a caller may administer the cluster.
func (s *State) Administer(who Identity) error {
	switch {
	case !s.enabled:
		return nil
	case who.User == "":
		return ErrUserEmpty
	case s.users[who.User] == nil:
		return ErrUserNotFound
	case !s.HasRole(who.User, Root):
		return ErrPermissionDenied
	}
	return nil
}

// Permit returns an error unless a caller has access to all keys of a range. An empty end
// stands for the single key.
func (s *State) Permit(who Identity, key, end string, access Access) error {
	switch {
	case !s.enabled:
		return nil
	case who.Revision == 0:
		return ErrUserEmpty
	case who.Revision < s.revision:
		return ErrOldRevision
	case s.HasRole(who.User, Root):
		return nil
	case !s.grants(who.User).cover(key, end, access):
		return ErrPermissionDenied
	}
	return nil
}

// Kind is a kind of change.
type Kind uint8

// Kinds of changes. The values never change. The comments name the fields of Change that
// a kind takes.
const (
	Enable           Kind = iota + 1 // Key
	Disable                          // nothing
	AddUser                          // User, and Hash or NoPassword
	DeleteUser                       // User
	SetPassword                      // User, Hash
	GrantRole                        // User, Role
	RevokeRole                       // User, Role
	AddRole                          // Role
	DeleteRole                       // Role
	GrantPermission                  // Role, Permission
	RevokePermission                 // Role, Permission without Access
	lastKind         = RevokePermission
)

// Change is a change of the state, for a replicated log.
type Change struct {
	Kind       Kind
	User, Role string
	Hash       []byte
	NoPassword bool
	Permission Permission
	Key        []byte // random, for simple tokens
}

// Apply returns the state after a change. After an error the state stays.
func (s *State) Apply(c Change) (*State, error) {
	next := &State{enabled: s.enabled, revision: s.revision + 1, key: s.key, users: maps.Clone(s.users), roles: maps.Clone(s.roles), bytes: s.bytes}
	if next.users == nil {
		next.users = make(map[string]*User)
	}
	if next.roles == nil {
		next.roles = make(map[string][]Permission)
	}
	changed, err := next.change(&c)
	if err != nil || !changed {
		return s, err
	}
	if next.bytes > s.bytes && next.bytes > maxStateBytes {
		return s, ErrTooLarge
	}
	return next, nil
}

// change carries out a change on a copy, and reports whether anything is different.
func (s *State) change(c *Change) (changed bool, err error) {
	switch c.Kind {
	case Enable:
		return s.enable(c.Key)
	case Disable:
		changed = s.enabled
		s.enabled = false
		return changed, nil
	case AddUser, DeleteUser, SetPassword, GrantRole, RevokeRole:
		return s.changeUser(c)
	case AddRole, DeleteRole, GrantPermission, RevokePermission:
		return s.changeRole(c)
	}
	return false, fmt.Errorf("%w: the kind of change %d; the last one is %d", ErrInvalid, c.Kind, lastKind)
}

func (s *State) enable(key []byte) (changed bool, err error) {
	switch {
	case s.enabled:
		return false, nil
	case s.users[Root] == nil:
		return false, ErrRootUserMissing
	case !s.HasRole(Root, Root):
		return false, ErrRootRoleMissing
	}
	s.enabled, s.key = true, key
	s.revision-- // as etcd counts
	return true, nil
}

func (s *State) changeUser(c *Change) (changed bool, err error) {
	old := s.users[c.User]
	if c.Kind == AddUser {
		switch {
		case c.User == "":
			return false, ErrUserEmpty
		case old != nil:
			return false, ErrUserExists
		}
		s.setUser(c.User, &User{Hash: c.Hash, NoPassword: c.NoPassword, Since: s.revision})
		return true, nil
	}
	removesRoot := c.Kind == DeleteUser || c.Kind == RevokeRole && c.Role == Root
	if removesRoot && s.enabled && c.User == Root {
		return false, ErrManagement
	}
	if old == nil {
		return false, ErrUserNotFound
	}
	next := *old
	switch c.Kind {
	case DeleteUser:
		s.setUser(c.User, nil)
		return true, nil
	case SetPassword:
		next.Since = s.revision
		if !next.NoPassword {
			next.Hash = c.Hash
		}
	case GrantRole:
		if _, ok := s.roles[c.Role]; !ok && c.Role != Root {
			return false, ErrRoleNotFound
		}
		at, has := slices.BinarySearch(old.Roles, c.Role)
		if has {
			return false, nil
		}
		next.Roles = slices.Insert(slices.Clone(old.Roles), at, c.Role)
	case RevokeRole:
		if next.Roles = without(old.Roles, c.Role); len(next.Roles) == len(old.Roles) {
			return false, ErrRoleNotGranted
		}
	}
	s.setUser(c.User, &next)
	return true, nil
}

func without(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == one })
}

// setUser replaces a user, or removes it with nil.
func (s *State) setUser(name string, u *User) {
	s.bytes -= userBytes(name, s.users[name])
	s.bytes += userBytes(name, u)
	if u == nil {
		delete(s.users, name)
	} else {
		s.users[name] = u
	}
}

func userBytes(name string, u *User) int {
	if u == nil {
		return 0
	}
	n := len(name) + len(u.Hash) + 64
	for _, r := range u.Roles {
		n += len(r) + 16
	}
	return n
}

func (s *State) changeRole(c *Change) (changed bool, err error) {
	old, exists := s.roles[c.Role]
	switch {
	case c.Kind == AddRole && c.Role == "":
		return false, ErrRoleEmpty
	case c.Kind == AddRole && exists:
		return false, ErrRoleExists
	case c.Kind == DeleteRole && s.enabled && c.Role == Root:
		return false, ErrManagement
	case c.Kind == GrantPermission && !c.Permission.valid():
		return false, ErrManagement
	case c.Kind != AddRole && !exists:
		return false, ErrRoleNotFound
	}
	p := c.Permission
	at, has := slices.BinarySearchFunc(old, p, comparePermissions)
	next := slices.Clone(old)
	switch {
	case c.Kind == AddRole:
	case c.Kind == DeleteRole:
		s.deleteRole(c.Role)
		return true, nil
	case c.Kind == RevokePermission && !has:
		return false, ErrNotGranted
	case c.Kind == RevokePermission:
		next = slices.Delete(next, at, at+1)
	case has:
		next[at].Access = p.Access
	default:
		next = slices.Insert(next, at, p)
	}
	s.bytes += roleBytes(c.Role, next)
	if exists {
		s.bytes -= roleBytes(c.Role, old)
	}
	s.roles[c.Role] = next
	return true, nil
}

func (s *State) deleteRole(role string) {
	s.bytes -= roleBytes(role, s.roles[role])
	delete(s.roles, role)
	for name, u := range s.users {
		if slices.Contains(u.Roles, role) {
			next := *u
			next.Roles = without(u.Roles, role)
			s.setUser(name, &next)
		}
	}
}

func roleBytes(name string, all []Permission) int {
	n := len(name) + 64
	for _, p := range all {
		n += len(p.Key) + len(p.End) + 48
	}
	return n
}

func comparePermissions(a, b Permission) int {
	return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.End, b.End))
}

// valid reports whether a permission has a kind of access and a range with keys.
func (p *Permission) valid() bool {
	return p.Access >= Read && p.Access <= ReadWrite && p.Key != "" && (p.End == "" || p.End == openEnd || p.Key < p.End)
}
