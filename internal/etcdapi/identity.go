package etcdapi

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"raftlab/internal/auth"
)

// memberKey marks the contexts of requests from other members.
type memberKey struct{}

// fromMember marks a request that came over a connection between members.
func fromMember(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return handler(context.WithValue(ctx, memberKey{}, true), request)
}

// open is the state of the users for callers that are never refused.
var open = auth.New()

// permissions returns the permissions of a request's caller in a picture.
func (s *Server) permissions(ctx context.Context, p *picture) (*permissions, error) {
	who, err := s.caller(ctx, p)
	if who.own {
		return &permissions{state: open, leases: p.view}, nil
	}
	return &permissions{state: p.auth, who: who.Identity, leases: p.view}, answer(err)
}

// caller returns the caller of a request. A caller without a token, or without a
// certificate where certificates count, has no name. Without access control nobody has.
func (s *Server) caller(ctx context.Context, p *picture) (caller, error) {
	if ctx.Value(memberKey{}) != nil {
		return caller{own: true}, nil
	}
	if !p.auth.Enabled() {
		return caller{}, nil
	}
	token, ok := tokenOf(ctx)
	if !ok {
		return caller{Identity: s.certified(ctx, p.auth)}, nil
	}
	who, ahead, err := s.cfg.Tokens.Identify(p.auth, token)
	if ahead { // the token is of another member, which is ahead of this one
		if err := s.linearize(ctx); err != nil {
			return caller{}, err
		}
		who, _, err = s.cfg.Tokens.Identify(s.picture().auth, token)
	}
	if errors.Is(err, auth.ErrToken) {
		s.log.Debug("a request has an invalid token")
	}
	return caller{Identity: who}, err
}

// tokenOf returns the token of a request, from the metadata of etcd's clients or from the
// header Authorization.
func tokenOf(ctx context.Context) (token string, ok bool) {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, name := range []string{rpctypes.TokenFieldNameGRPC, rpctypes.TokenFieldNameSwagger} {
		if values := md.Get(name); len(values) > 0 {
			return strings.TrimPrefix(values[0], "Bearer "), true
		}
	}
	return "", false
}

// certified returns the user whom a verified certificate names. The gateway's requests
// have no certificate of their client.
func (s *Server) certified(ctx context.Context, state *auth.State) auth.Identity {
	if !s.cfg.CertificateUsers {
		return auth.Identity{}
	}
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("grpcgateway-accept")) > 0 {
		return auth.Identity{}
	}
	from, ok := peer.FromContext(ctx)
	if !ok {
		return auth.Identity{}
	}
	secured, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok || len(secured.State.VerifiedChains) == 0 || len(secured.State.VerifiedChains[0]) == 0 {
		return auth.Identity{}
	}
	return auth.Identity{User: secured.State.VerifiedChains[0][0].Subject.CommonName, Revision: state.Revision()}
}

// known refuses a caller without a name while access control is enabled.
func (s *Server) known(ctx context.Context) error {
	p, err := s.permissions(ctx, s.picture())
	if err == nil {
		err = p.state.Known(p.who)
	}
	return answer(err)
}

// administer refuses a caller without the role root while access control is enabled.
func (s *Server) administer(ctx context.Context) error {
	p, err := s.permissions(ctx, s.picture())
	if err == nil {
		err = p.state.Administer(p.who)
	}
	return answer(err)
}

// Administers refuses a token, "" for none, whose user has not the role root. Without
// access control everybody has.
func (s *Server) Administers(ctx context.Context, token string) error {
	md := metadata.MD{}
	if token != "" {
		md.Set(rpctypes.TokenFieldNameSwagger, token)
	}
	return s.administer(metadata.NewIncomingContext(ctx, md))
}
