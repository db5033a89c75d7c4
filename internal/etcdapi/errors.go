package etcdapi

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/internal/auth"
	"raftlab/mvcc"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// answers are the errors that clients know. The first match counts.
var answers = []struct{ err, answer error }{
	{mvcc.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{mvcc.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
	{mvcc.ErrEmptyKey, rpctypes.ErrGRPCEmptyKey},
	{mvcc.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{mvcc.ErrValueProvided, rpctypes.ErrGRPCValueProvided},
	{mvcc.ErrLeaseProvided, rpctypes.ErrGRPCLeaseProvided},
	{mvcc.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
	{mvcc.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{mvcc.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
	{mvcc.ErrLeaseTTL, rpctypes.ErrGRPCLeaseTTLTooLarge},
	{errNoSpace, rpctypes.ErrGRPCNoSpace},
	{errCorrupt, rpctypes.ErrGRPCCorrupt},
	{errMissed, rpctypes.ErrGRPCTimeout},
	{auth.ErrTooLarge, rpctypes.ErrGRPCNoSpace},
	{auth.ErrRootUserMissing, rpctypes.ErrGRPCRootUserNotExist},
	{auth.ErrRootRoleMissing, rpctypes.ErrGRPCRootRoleNotExist},
	{auth.ErrUserExists, rpctypes.ErrGRPCUserAlreadyExist},
	{auth.ErrUserEmpty, rpctypes.ErrGRPCUserEmpty},
	{auth.ErrUserNotFound, rpctypes.ErrGRPCUserNotFound},
	{auth.ErrRoleExists, rpctypes.ErrGRPCRoleAlreadyExist},
	{auth.ErrRoleEmpty, rpctypes.ErrGRPCRoleEmpty},
	{auth.ErrRoleNotFound, rpctypes.ErrGRPCRoleNotFound},
	{auth.ErrRoleNotGranted, rpctypes.ErrGRPCRoleNotGranted},
	{auth.ErrNotGranted, rpctypes.ErrGRPCPermissionNotGranted},
	{auth.ErrNoPermission, rpctypes.ErrGRPCPermissionNotGiven},
	{auth.ErrManagement, rpctypes.ErrGRPCInvalidAuthMgmt},
	{auth.ErrNotEnabled, rpctypes.ErrGRPCAuthNotEnabled},
	{auth.ErrPermissionDenied, rpctypes.ErrGRPCPermissionDenied},
	{auth.ErrOldRevision, rpctypes.ErrGRPCAuthOldRevision},
	{auth.ErrFailed, rpctypes.ErrGRPCAuthFailed},
	{auth.ErrToken, rpctypes.ErrGRPCInvalidAuthToken},
	{node.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{node.ErrQueueFull, rpctypes.ErrGRPCRequestTooManyRequests},
	{node.ErrLeadershipLost, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{node.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
	{node.ErrStopped, rpctypes.ErrGRPCStopped},
	{node.ErrNoMember, rpctypes.ErrGRPCMemberNotFound},
	{core.ErrTransferring, rpctypes.ErrGRPCNotLeader},
	{core.ErrTooMuchUncommitted, rpctypes.ErrGRPCRequestTooManyRequests},
	{core.ErrBadConfiguration, rpctypes.ErrGRPCMemberNotEnoughStarted},
	{core.ErrChangePending, rpctypes.ErrGRPCUnhealthy},
	{node.ErrNotTransferred, rpctypes.ErrGRPCTimeout},
}

// answer returns the error that a client gets.
func answer(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err // an answer already
	}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a.answer
		}
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case errors.Is(err, mvcc.ErrInvalid):
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return status.Error(codes.Unknown, err.Error())
}

// asOfClient returns an answer of Lock or Election. etcd serves both with a client of its
// own, whose errors have etcd's words and the code Unknown. The codes that tell a client to
// try again stay.
func asOfClient(err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.OutOfRange, codes.PermissionDenied, codes.Unauthenticated, codes.ResourceExhausted:
		return status.Error(codes.Unknown, status.Convert(err).Message())
	}
	return err
}
