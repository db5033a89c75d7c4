package labrpc

import "fmt"

// redirect is a transport that chooses an end for each call.
type redirect struct{ choose func() *ClientEnd }

// MakeRedirect makes an end whose calls go through the end that choose returns. The end
// chooses anew for each call, so the server behind the end may change. Calls return false
// while choose returns nil.
func MakeRedirect(choose func() *ClientEnd) *ClientEnd { return &ClientEnd{redirect{choose}} }

func (r redirect) call(svcMeth string, args []byte) ([]byte, bool) {
	e := r.choose()
	if e == nil {
		return nil, false
	}
	return e.via.call(svcMeth, args)
}

func (r redirect) send(svcMeth string, args []byte) {
	if e := r.choose(); e != nil {
		e.via.send(svcMeth, args)
	}
}

func (r redirect) mistake(svcMeth string, err error) {
	if e := r.choose(); e != nil {
		e.via.mistake(svcMeth, err)
		return
	}
	panic(fmt.Sprintf("labrpc: Call(%q): %v", svcMeth, err))
}
