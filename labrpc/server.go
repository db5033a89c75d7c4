package labrpc

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"raftlab/labgob"
)

// A Server is a set of services that share a name on a network, such as the
// Raft peer and the key/value server of one machine.
type Server struct {
	mu       sync.RWMutex
	services map[string]*Service
	count    atomic.Int64
}

// MakeServer returns a server without services.
func MakeServer() *Server {
	return &Server{services: make(map[string]*Service)}
}

// AddService adds a service, in place of one with the same name.
func (rs *Server) AddService(svc *Service) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.services[svc.name] = svc
}

// GetCount returns how many RPCs were handed to this server.
func (rs *Server) GetCount() int {
	return int(rs.count.Load())
}

// find returns the handler of a method, or an error that names the existing
// methods.
func (rs *Server) find(svcMeth string) (*handler, error) {
	name, method, ok := strings.Cut(svcMeth, ".")
	if !ok {
		return nil, fmt.Errorf("method %q is not of the form Service.Method", svcMeth)
	}
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	svc := rs.services[name]
	if svc == nil {
		return nil, fmt.Errorf("no service %q (called as %s); services here: %s", name, svcMeth, list(rs.services))
	}
	h := svc.handlers[method]
	if h == nil {
		return nil, fmt.Errorf("service %s has no handler %q; handlers: %s%s", name, method, list(svc.handlers), svc.ignoredNote(method))
	}
	return h, nil
}

// list writes the keys of a map in order.
func list[V any](m map[string]V) string {
	if len(m) == 0 {
		return "none"
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}

// handle runs a handler on encoded arguments and returns the encoded reply. The
// error is a mistake in one of the programs.
func (rs *Server) handle(svcMeth string, data []byte) ([]byte, error) {
	rs.count.Add(1)
	h, err := rs.find(svcMeth)
	if err != nil {
		return nil, err
	}
	args, err := h.decode(data)
	if err != nil {
		return nil, err
	}
	return h.encode(h.serve(args))
}

// A Service is a receiver with methods that answer RPCs.
type Service struct {
	name     string
	handlers map[string]*handler
	ignored  map[string]reflect.Type // exported methods of another shape
}

// A handler is one method, func (t *T) Method(args A or *A, reply *R), or without the
// reply for one-way messages.
type handler struct {
	name    string
	method  reflect.Value
	args    reflect.Type // without the pointer
	pointer bool         // the method takes a *A
	reply   reflect.Type // without the pointer; nil for one-way messages
}

// MakeService makes a service of rcvr's exported methods of the shape
//
//	func (t *T) Method(args A, reply *R)
//
// where A may be a pointer, and there is no result. Methods without the reply take
// one-way messages (ClientEnd.Send). Other methods are ignored. The service has the
// name of the receiver's type.
func MakeService(rcvr any) *Service {
	v := reflect.ValueOf(rcvr)
	if !v.IsValid() {
		panic("labrpc: MakeService of nil")
	}
	svc := &Service{
		name:     reflect.Indirect(v).Type().Name(),
		handlers: make(map[string]*handler),
		ignored:  make(map[string]reflect.Type),
	}
	for i := range v.NumMethod() {
		name, m := v.Type().Method(i).Name, v.Method(i)
		t := m.Type()
		oneWay := t.NumIn() == 1
		if t.IsVariadic() || t.NumOut() != 0 || !oneWay && (t.NumIn() != 2 || t.In(1).Kind() != reflect.Pointer) {
			svc.ignored[name] = t
			continue
		}
		h := &handler{name: svc.name + "." + name, method: m, args: t.In(0)}
		if !oneWay {
			h.reply = t.In(1).Elem()
		}
		if h.args.Kind() == reflect.Pointer {
			h.args, h.pointer = h.args.Elem(), true
		}
		svc.handlers[name] = h
	}
	return svc
}

// ignoredNote explains why an existing method is not a handler.
func (svc *Service) ignoredNote(method string) string {
	t := svc.ignored[method]
	if t == nil {
		return ""
	}
	return fmt.Sprintf("; %s is a %v, and a handler is a func(args A, reply *R) without results", method, t)
}

// decode makes the arguments as the method takes them.
func (h *handler) decode(data []byte) (reflect.Value, error) {
	in := reflect.New(h.args)
	if err := labgob.Decode(data, in.Interface()); err != nil {
		return in, fmt.Errorf("%s takes a %v, and the arguments do not fit: %w", h.name, h.args, err)
	}
	if h.pointer {
		return in, nil
	}
	return in.Elem(), nil
}

// serve runs the method and returns the reply, if there is one.
func (h *handler) serve(args reflect.Value) reflect.Value {
	if h.reply == nil {
		h.method.Call([]reflect.Value{args})
		return reflect.Value{}
	}
	reply := reflect.New(h.reply)
	h.method.Call([]reflect.Value{args, reply})
	return reply
}

func (h *handler) encode(reply reflect.Value) ([]byte, error) {
	if h.reply == nil {
		return nil, nil
	}
	data, err := labgob.Encode(reply.Interface())
	if err != nil {
		return nil, fmt.Errorf("%s: cannot encode its reply, a %v: %w", h.name, h.reply, err)
	}
	return data, nil
}
