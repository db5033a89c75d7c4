//go:build !wasip1

package member_test

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/internal/httpkv"
	"raftlab/internal/testkit"
)

// newAdmin starts three members with Options.Admin.
func newAdmin(t *testing.T, secure bool) *cluster {
	c := newCluster(t, secure)
	for name, o := range c.options {
		c.stop(name)
		o.Admin, o.BcryptCost = true, 4
		c.options[name] = o
		c.start(name)
	}
	return c
}

// replica returns a member's status as another member's interface /v1 shows it, and its
// number.
func (c *cluster) replica(at, name string) httpkv.ReplicaStatus {
	c.Helper()
	v1 := &httpkv.Client{BaseURL: scheme(c.secure) + c.members[at].Address().String(), HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(c)}}}
	defer v1.HTTP.CloseIdleConnections()
	var found httpkv.ReplicaStatus
	testkit.WaitFor(c, 20*time.Second, at+" to know the name of "+name, func() bool {
		s, err := v1.Status(c.Context())
		require.NoError(c, err)
		i := slices.IndexFunc(s.Replicas, func(r httpkv.ReplicaStatus) bool { return r.Name == name })
		if i >= 0 {
			found = s.Replicas[i]
		}
		return i >= 0
	})
	return found
}

// change asks a member to change another, and returns the answer.
func (c *cluster) change(at, name, verb string, header http.Header) (int, string) {
	c.Helper()
	number := c.replica(at, name).Number
	r := c.request(http.MethodPost, at, "/v1/replicas/"+string(rune('0'+number))+"/"+verb, "", header)
	body, err := io.ReadAll(r.Body)
	require.NoError(c, err)
	return r.StatusCode, string(body)
}

func (c *cluster) becomes(at, name, state string, disconnected bool) {
	c.Helper()
	testkit.WaitFor(c, 20*time.Second, name+" is "+state+" at "+at, func() bool {
		r := c.replica(at, name)
		return r.State == state && r.Disconnected == disconnected
	})
}

// People stop, start and cut off members through any member. A stopped member has
// closed its log, and its process takes the wish to start.
func TestAdmin(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"plaintext": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			c := newAdmin(t, secure)
			c.put("n1", "k")
			c.put("n3", "k")
			for _, at := range []string{"n1", "n3"} { // through another member, and by the member itself
				code, body := c.change(at, "n3", "stop", nil)
				require.Equal(t, http.StatusNoContent, code, body)
				c.becomes("n1", "n3", "stopped", false)
				c.becomes("n3", "n3", "stopped", false)
				_, err := c.kv("n3").Range(t.Context(), &pb.RangeRequest{Key: []byte("k")})
				require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
				code, body = c.get("n3", "/readyz")
				require.Equal(t, http.StatusServiceUnavailable, code)
				require.Contains(t, body, "stopped")
				code, _ = c.get("n3", "/livez")
				require.Equal(t, http.StatusOK, code)
				code, body = c.change(at, "n3", "stop", nil)
				require.Equal(t, http.StatusConflict, code, body)
				code, body = c.change(at, "n3", "disconnect", nil)
				require.Equal(t, http.StatusConflict, code, body)
				c.put("n1", "by "+at)
				code, body = c.change(at, "n3", "start", nil)
				require.Equal(t, http.StatusNoContent, code, body)
				c.becomes("n1", "n3", "running", false)
				testkit.WaitFor(t, 20*time.Second, "the started member to serve", func() bool {
					code, _ := c.get("n3", "/readyz")
					return code == http.StatusOK
				})
				c.has("n3", c.keys("n1")...)

				code, body = c.change(at, "n3", "disconnect", nil)
				require.Equal(t, http.StatusNoContent, code, body)
				c.becomes("n1", "n3", "running", true)
				c.becomes("n3", "n3", "running", true)
				c.becomes("n3", "n1", "running", false)
				c.put("n1", "without "+at)
				r, err := c.kv("n3").Range(t.Context(), &pb.RangeRequest{Key: []byte("without " + at), Serializable: true})
				require.NoError(t, err)
				require.Empty(t, r.Kvs)
				code, body = c.change(at, "n3", "connect", nil)
				require.Equal(t, http.StatusNoContent, code, body)
				c.becomes("n1", "n3", "running", false)
				c.put("n3", "again "+at)
			}
			code, body := c.change("n1", "n3", "stop", nil)
			require.Equal(t, http.StatusNoContent, code, body)
			c.becomes("n1", "n3", "stopped", false)
			c.stop("n3") // a stopped member's process ends as any other
		})
	}
}

func (c *cluster) keys(name string) (all []string) {
	c.Helper()
	r, err := c.kv(name).Range(c.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, grpc.WaitForReady(true))
	require.NoError(c, err)
	for _, kv := range r.Kvs {
		all = append(all, string(kv.Key))
	}
	return all
}

// A member without Admin is not changed, neither by its own page nor through another
// member, and pages of other origins change nothing. With users, only root changes members.
func TestAdminIsRefused(t *testing.T) {
	t.Parallel()
	c := newAdmin(t, false)
	c.put("n1", "k")
	c.put("n3", "k")
	o := c.options["n3"]
	o.Admin = false
	c.options["n3"] = o
	c.stop("n3")
	c.start("n3")
	c.becomes("n1", "n3", "running", false)
	refused := func(want int, says, at, name string, header http.Header) {
		t.Helper()
		code, body := c.change(at, name, "stop", header)
		require.Equal(t, want, code, body)
		require.Contains(t, body, says)
		require.Equal(t, "running", c.replica("n1", name).State)
	}
	refused(http.StatusConflict, "start it with --admin", "n1", "n3", nil)
	refused(http.StatusForbidden, "needs_admin", "n3", "n3", nil)
	refused(http.StatusForbidden, "needs_admin", "n3", "n1", nil)
	for _, number := range []string{"0", "-1", "4"} {
		r := c.request(http.MethodPost, "n1", "/v1/replicas/"+number+"/stop", "", nil)
		require.Equal(t, http.StatusNotFound, r.StatusCode, number)
	}
	refused(http.StatusForbidden, "foreign_origin", "n1", "n2", http.Header{"Origin": {"http://evil.example"}})
	refused(http.StatusForbidden, "foreign_origin", "n1", "n2", http.Header{"Sec-Fetch-Site": {"cross-site"}})

	users := pb.NewAuthClient(c.conn("n1"))
	for _, one := range []string{"root", "guest"} {
		_, err := users.UserAdd(t.Context(), &pb.AuthUserAddRequest{Name: one, Password: "secret"})
		require.NoError(t, err)
	}
	_, err := users.UserGrantRole(t.Context(), &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
	require.NoError(t, err)
	_, err = users.AuthEnable(t.Context(), &pb.AuthEnableRequest{})
	require.NoError(t, err)
	token := func(user string) http.Header {
		r, err := users.Authenticate(t.Context(), &pb.AuthenticateRequest{Name: user, Password: "secret"})
		require.NoError(t, err)
		return http.Header{"Authorization": {r.Token}}
	}
	refused(http.StatusForbidden, "users_only", "n1", "n2", nil)
	refused(http.StatusForbidden, "users_only", "n1", "n2", token("guest"))
	code, body := c.change("n1", "n2", "stop", token("root"))
	require.Equal(t, http.StatusNoContent, code, body)
	c.becomes("n1", "n2", "stopped", false)
	c.becomes("n2", "n1", "running", false) // nobody has asked n2 for the others before
	code, body = c.change("n2", "n2", "start", nil)
	require.Equal(t, http.StatusForbidden, code, body)
	code, body = c.change("n2", "n2", "start", token("root"))
	require.Equal(t, http.StatusNoContent, code, body)
	c.becomes("n1", "n2", "running", false)

	// A member that cannot read its users from the cluster refuses everybody.
	c.stop("n1")
	c.stop("n3")
	c.stop("n2")
	c.start("n2")
	r := c.request(http.MethodPost, "n2", "/v1/replicas/1/stop", "", nil)
	require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
	answer, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Contains(t, string(answer), "has not joined its cluster")
}
