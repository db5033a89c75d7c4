package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sort"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// request is one request of a sequence. String is the request with symbols.
type request interface {
	fmt.Stringer
	// send sends the request and returns the normalized answer.
	send(s *side) string
	// message is the message that the shrinker may simplify, nil for none.
	message() proto.Message
	// with returns the request with another message.
	with(m proto.Message) request
}

// patience bounds a request.
const patience = 10 * time.Second

// call is a request of gRPC.
type call struct {
	method string // with the service: KV/Put
	in     proto.Message
	user   string   // whose token the request has
	header []string // more metadata
	times  int      // of the message, in a stream of requests
	place  int      // in the sequence
}

func (c call) at(place int) call {
	c.place = place
	return c
}

func (c call) String() string {
	text := c.method + printer.text(c.in.ProtoReflect())
	if c.user != "" {
		text += " as " + c.user
	}
	if len(c.header) > 0 {
		text += fmt.Sprintf(" with %q", c.header)
	}
	return text
}

func (c call) message() proto.Message { return c.in }

func (c call) with(m proto.Message) request {
	c.in = m
	return harmless(c)
}

// packages are those of etcd's services.
var packages = map[string]string{"Lock": "v3lockpb", "Election": "v3electionpb"}

// describe returns a method's description and its full name.
func describe(method string) (protoreflect.MethodDescriptor, string) {
	service, name, _ := strings.Cut(method, "/")
	pkg := packages[service]
	if pkg == "" {
		pkg = "etcdserverpb"
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(pkg + "." + service))
	if err != nil {
		panic(err) // the method is written in this package
	}
	m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name))
	return m, "/" + string(d.FullName()) + "/" + name
}

func newMessage(d protoreflect.MessageDescriptor) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err)
	}
	return t.New().Interface()
}

// send implements request.
func (c call) send(s *side) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := 0; i+1 < len(c.header); i += 2 {
		ctx = metadata.AppendToOutgoingContext(ctx, c.header[i], c.header[i+1])
	}
	if token := s.tokens[c.user]; token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
	}
	description, name := describe(c.method)
	in := s.resolve(c.in)
	if description.IsStreamingServer() {
		return c.stream(ctx, s, description, name, in)
	}
	out := newMessage(description.Output())
	err := s.conn.Invoke(ctx, name, in, out)
	if c.method == "Cluster/MemberAdd" && status.Code(err) == codes.NotFound {
		// etcd computes the id of the address and the second, and the id was removed.
		time.Sleep(time.Second)
		err = s.conn.Invoke(ctx, name, in, out)
	}
	if err != nil {
		return errorText(err)
	}
	s.learn(c, out.ProtoReflect())
	return s.text(out.ProtoReflect())
}

// learn keeps what later requests refer to.
func (s *side) learn(c call, out protoreflect.Message) {
	switch c.method {
	case "Lease/LeaseGrant":
		if id := valueOf(out, "ID").Int(); valueOf(c.in.ProtoReflect(), "ID").Int() == 0 && id != 0 {
			s.granted = append(s.granted, id)
		}
	case "Auth/Authenticate":
		s.tokens[valueOf(c.in.ProtoReflect(), "name").String()] = valueOf(out, "token").String()
	}
}

// stream sends a message, and returns what the stream answers. A stream of requests
// answers each of them.
func (c call) stream(ctx context.Context, s *side, d protoreflect.MethodDescriptor, name string, in proto.Message) string {
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: d.IsStreamingClient()}, name)
	if err != nil {
		return errorText(err)
	}
	times := 1
	if d.IsStreamingClient() {
		times = max(c.times, 1)
	}
	for range times {
		if err := stream.SendMsg(in); err != nil {
			break // RecvMsg has the error
		}
	}
	_ = stream.CloseSend()
	var answers []string
	for {
		out := newMessage(d.Output())
		err := stream.RecvMsg(out)
		if errors.Is(err, io.EOF) {
			return strings.Join(dedupe(answers), " ")
		}
		if err != nil {
			return strings.Join(append(dedupe(answers), errorText(err)), " ")
		}
		answers = append(answers, s.text(out.ProtoReflect()))
	}
}

// dedupe drops repeated messages. The parts of a snapshot are alike after normalization,
// and the number of parts is the program's.
func dedupe(answers []string) (kept []string) {
	for i, a := range answers {
		if i == 0 || a != answers[i-1] {
			kept = append(kept, a)
		}
	}
	return kept
}

// codesOf are the codes of errors that etcd has for clients with these texts, and sends with
// the code Unknown by an oversight.
var codesOf = map[string]codes.Code{
	"etcdserver: re-configuration failed due to not enough started members": codes.FailedPrecondition,
	"etcdserver: too many requests":                                         codes.ResourceExhausted,
}

func errorText(err error) string {
	st := status.Convert(err)
	if code, ok := codesOf[st.Message()]; ok {
		return fmt.Sprintf("error %s: %s", code, st.Message())
	}
	return fmt.Sprintf("error %s: %s", st.Code(), st.Message())
}

// page is a request of HTTP.
type page struct {
	verb, path, body string
	header           []string
	user             string
}

func (p page) String() string {
	text := p.verb + " " + p.path
	if p.body != "" {
		text += " " + digits.ReplaceAllStringFunc(shorten(p.body), func(d string) string {
			var n int64
			fmt.Sscan(d, &n)
			return symbol(n)
		})
	}
	if len(p.header) > 0 {
		text += fmt.Sprintf(" with %q", p.header)
	}
	if p.user != "" {
		text += " as " + p.user
	}
	return text
}

func (page) message() proto.Message       { return nil }
func (p page) with(proto.Message) request { return p }

// headers are those of answers that clients look at.
var headers = []string{"Content-Type", "Allow", "Www-Authenticate", "Trailer", "X-Etcd-Index", "Location"}

// send implements request.
func (p page) send(s *side) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, p.verb, "http://"+s.address+p.path, strings.NewReader(s.resolveText(p.body)))
	if err != nil {
		return "error: " + err.Error()
	}
	for i := 0; i+1 < len(p.header); i += 2 {
		r.Header.Set(p.header[i], p.header[i+1])
	}
	if token := s.tokens[p.user]; token != "" {
		r.Header.Set("Authorization", token)
	}
	noRedirect := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := noRedirect.Do(r)
	if err != nil {
		return "error: " + err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "error: " + err.Error()
	}
	text := answer.Status
	if answer.StatusCode == http.StatusNotFound && !strings.HasPrefix(p.path, "/v3/") {
		return text // the pages of the servers differ
	}
	if strings.HasPrefix(p.path, "/health") {
		answer.Header.Del("Content-Type")
	}
	body = []byte(regexp.MustCompile("(proto:)[\u00a0 ]+").ReplaceAllString(string(body), "$1 "))
	var kept []string
	for _, name := range headers {
		if v := answer.Header.Values(name); len(v) > 0 {
			kept = append(kept, fmt.Sprintf("%s=%q", name, v))
		}
	}
	sort.Strings(kept)
	return strings.Join(append([]string{text}, append(kept, s.jsonText(body))...), " ")
}
