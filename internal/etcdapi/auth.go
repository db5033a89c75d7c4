package etcdapi

import (
	"context"
	"crypto/rand"
	"errors"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/internal/auth"
)

// authService is the service Auth.
type authService struct {
	pb.UnimplementedAuthServer
	server *Server
}

// keyBytes is the size of the key of simple tokens.
const keyBytes = 32

// change has all members apply a change of the users or roles.
func (a *authService) change(ctx context.Context, c auth.Change) (*pb.ResponseHeader, error) {
	s := a.server
	who, err := s.caller(ctx, s.picture())
	if err != nil {
		return nil, answer(err)
	}
	o, err := s.propose(ctx, &entry{caller: who, auth: &c})
	if err != nil {
		return nil, err
	}
	if o.err != nil {
		return nil, answer(o.err)
	}
	return s.header(o.result.Revision), nil
}

// state returns the state of the users after all changes before the call, and the
// permissions of the caller.
func (a *authService) state(ctx context.Context) (*permissions, *pb.ResponseHeader, error) {
	if err := a.server.linearize(ctx); err != nil {
		return nil, nil, err
	}
	p := a.server.picture()
	allowed, err := a.server.permissions(ctx, p)
	return allowed, a.server.header(p.view.Revision()), err
}

// AuthEnable implements pb.AuthServer.
func (a *authService) AuthEnable(ctx context.Context, _ *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	header, err := a.change(ctx, auth.Change{Kind: auth.Enable, Key: key})
	if err != nil {
		return nil, err
	}
	a.server.log.Info("access control is enabled")
	return &pb.AuthEnableResponse{Header: header}, nil
}

// AuthDisable implements pb.AuthServer.
func (a *authService) AuthDisable(ctx context.Context, _ *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	header, err := a.change(ctx, auth.Change{Kind: auth.Disable})
	if err != nil {
		return nil, err
	}
	a.server.log.Info("access control is disabled")
	return &pb.AuthDisableResponse{Header: header}, nil
}

// AuthStatus implements pb.AuthServer. Anybody may ask, without a token or with a valid one.
func (a *authService) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	if err := a.server.linearize(ctx); err != nil {
		return nil, err
	}
	p := a.server.picture()
	if _, err := a.server.permissions(ctx, p); err != nil {
		return nil, err
	}
	return &pb.AuthStatusResponse{Header: a.server.header(p.view.Revision()), Enabled: p.auth.Enabled(), AuthRevision: p.auth.Revision()}, nil
}

// Authenticate implements pb.AuthServer. Nothing is written to the log.
func (a *authService) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	s := a.server
	if err := s.linearize(ctx); err != nil {
		return nil, err
	}
	p := s.picture()
	token, err := s.cfg.Tokens.Authenticate(ctx, p.auth, r.Name, r.Password)
	if err != nil {
		if !errors.Is(err, auth.ErrNotEnabled) {
			s.log.Warn("a user was not authenticated", "user", r.Name, "error", err)
		}
		return nil, answer(err)
	}
	return &pb.AuthenticateResponse{Header: s.header(p.view.Revision()), Token: token}, nil
}

// UserAdd implements pb.AuthServer. Only the hash of the password enters the log.
func (a *authService) UserAdd(ctx context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	c := auth.Change{Kind: auth.AddUser, User: r.Name, NoPassword: r.Options != nil && r.Options.NoPassword}
	// The hash costs a tenth of a second of a processor, so a caller who must not add
	// users gets the answer before.
	if err := a.server.administer(ctx); err != nil {
		return nil, err
	}
	if !c.NoPassword {
		var err error
		if c.Hash, err = a.server.cfg.Tokens.Hash(ctx, r.Password); err != nil {
			return nil, answer(err)
		}
	}
	header, err := a.change(ctx, c)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserAddResponse{Header: header}, nil
}

// UserChangePassword implements pb.AuthServer.
func (a *authService) UserChangePassword(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	if err := a.server.administer(ctx); err != nil {
		return nil, err
	}
	hash, err := a.server.cfg.Tokens.Hash(ctx, r.Password)
	if err != nil {
		return nil, answer(err)
	}
	header, err := a.change(ctx, auth.Change{Kind: auth.SetPassword, User: r.Name, Hash: hash})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserChangePasswordResponse{Header: header}, nil
}

// UserDelete implements pb.AuthServer.
func (a *authService) UserDelete(ctx context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	header, err := a.change(ctx, auth.Change{Kind: auth.DeleteUser, User: r.Name})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserDeleteResponse{Header: header}, nil
}

// UserGet implements pb.AuthServer. Users may ask for themselves.
func (a *authService) UserGet(ctx context.Context, r *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	allowed, header, err := a.state(ctx)
	if err != nil {
		return nil, err
	}
	if err := allowed.state.Administer(allowed.who); err != nil && r.Name != allowed.who.User {
		return nil, answer(err)
	}
	u, ok := allowed.state.User(r.Name)
	if !ok {
		return nil, answer(auth.ErrUserNotFound)
	}
	return &pb.AuthUserGetResponse{Header: header, Roles: u.Roles}, nil
}

// UserList implements pb.AuthServer.
func (a *authService) UserList(ctx context.Context, _ *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	allowed, header, err := a.state(ctx)
	if err != nil {
		return nil, err
	}
	if err := allowed.state.Administer(allowed.who); err != nil {
		return nil, answer(err)
	}
	return &pb.AuthUserListResponse{Header: header, Users: allowed.state.Users()}, nil
}

// UserGrantRole implements pb.AuthServer.
func (a *authService) UserGrantRole(ctx context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	header, err := a.change(ctx, auth.Change{Kind: auth.GrantRole, User: r.User, Role: r.Role})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserGrantRoleResponse{Header: header}, nil
}

// UserRevokeRole implements pb.AuthServer.
func (a *authService) UserRevokeRole(ctx context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	header, err := a.change(ctx, auth.Change{Kind: auth.RevokeRole, User: r.Name, Role: r.Role})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserRevokeRoleResponse{Header: header}, nil
}

// RoleAdd implements pb.AuthServer.
func (a *authService) RoleAdd(ctx context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	header, err := a.change(ctx, auth.Change{Kind: auth.AddRole, Role: r.Name})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleAddResponse{Header: header}, nil
}

// RoleDelete implements pb.AuthServer.
func (a *authService) RoleDelete(ctx context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	header, err := a.change(ctx, auth.Change{Kind: auth.DeleteRole, Role: r.Role})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleDeleteResponse{Header: header}, nil
}

// RoleGet implements pb.AuthServer. Users may ask for their own roles.
func (a *authService) RoleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	allowed, header, err := a.state(ctx)
	if err != nil {
		return nil, err
	}
	if err := allowed.state.Administer(allowed.who); err != nil && !allowed.state.HasRole(allowed.who.User, r.Role) {
		return nil, answer(err)
	}
	all, ok := allowed.state.Role(r.Role)
	if !ok {
		return nil, answer(auth.ErrRoleNotFound)
	}
	response := &pb.AuthRoleGetResponse{Header: header}
	if r.Role == auth.Root {
		response.Perm = append(response.Perm, &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte{}, RangeEnd: []byte{0}})
		return response, nil
	}
	for _, p := range all {
		response.Perm = append(response.Perm, &authpb.Permission{PermType: toAccess(p.Access), Key: []byte(p.Key), RangeEnd: raw(p.End)})
	}
	return response, nil
}

// RoleList implements pb.AuthServer.
func (a *authService) RoleList(ctx context.Context, _ *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	allowed, header, err := a.state(ctx)
	if err != nil {
		return nil, err
	}
	if err := allowed.state.Administer(allowed.who); err != nil {
		return nil, answer(err)
	}
	return &pb.AuthRoleListResponse{Header: header, Roles: allowed.state.Roles()}, nil
}

// RoleGrantPermission implements pb.AuthServer. A second grant of a range replaces the
// access of the first one.
func (a *authService) RoleGrantPermission(ctx context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	if r.Perm == nil {
		if err := a.server.administer(ctx); err != nil {
			return nil, err
		}
		return nil, answer(auth.ErrNoPermission)
	}
	header, err := a.change(ctx, auth.Change{Kind: auth.GrantPermission, Role: r.Name, Permission: auth.Permission{
		Key: string(r.Perm.Key), End: string(r.Perm.RangeEnd), Access: fromAccess(r.Perm.PermType),
	}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleGrantPermissionResponse{Header: header}, nil
}

// RoleRevokePermission implements pb.AuthServer.
func (a *authService) RoleRevokePermission(ctx context.Context, r *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	header, err := a.change(ctx, auth.Change{Kind: auth.RevokePermission, Role: r.Role, Permission: auth.Permission{
		Key: string(r.Key), End: string(r.RangeEnd),
	}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleRevokePermissionResponse{Header: header}, nil
}

func fromAccess(t authpb.Permission_Type) auth.Access {
	switch t {
	case authpb.Permission_READ:
		return auth.Read
	case authpb.Permission_WRITE:
		return auth.Write
	case authpb.Permission_READWRITE:
		return auth.ReadWrite
	}
	return 0 // refused
}

func toAccess(a auth.Access) authpb.Permission_Type {
	switch a {
	case auth.Read:
		return authpb.Permission_READ
	case auth.Write:
		return authpb.Permission_WRITE
	}
	return authpb.Permission_READWRITE
}
