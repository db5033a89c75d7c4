package etcdapi

import (
	"raftlab/internal/auth"
	"raftlab/mvcc"
)

// permissions checks the requests of one caller against a state of the users. Reads check
// with the state that the read sees, and writes when they are applied.
type permissions struct {
	state  *auth.State
	who    auth.Identity
	leases interface{ LeaseKeys(id int64) []string }
}

func (p *permissions) read(key, end string) error {
	return p.state.Permit(p.who, key, end, auth.Read)
}

func (p *permissions) write(key, end string) error {
	return p.state.Permit(p.who, key, end, auth.Write)
}

// command checks a command of the store.
func (p *permissions) command(c *mvcc.Command) error {
	switch {
	case c.Put != nil:
		return p.put(c.Put)
	case c.Delete != nil:
		return p.delete(c.Delete)
	case c.Txn != nil:
		return p.txn(c.Txn)
	case c.Revoke != nil:
		return p.revoke(c.Revoke.Lease)
	case c.Compact != nil:
		return p.state.Administer(p.who)
	}
	return p.state.Known(p.who)
}

func (p *permissions) put(r *mvcc.PutRequest) error {
	err := p.write(r.Key, "")
	if err == nil && r.Lease != 0 {
		// Otherwise the caller could attach a key of its own, and then let the lease
		// expire, or prolong a lease that others gave up.
		err = p.revoke(r.Lease)
	}
	if err == nil && r.PrevKV {
		err = p.read(r.Key, "")
	}
	return err
}

func (p *permissions) delete(r *mvcc.DeleteRequest) error {
	err := p.write(r.Key, r.End)
	if err == nil && r.PrevKV {
		err = p.read(r.Key, r.End)
	}
	return err
}

func (p *permissions) txn(r *mvcc.TxnRequest) error {
	for i := range r.Compares {
		if err := p.read(r.Compares[i].Key, r.Compares[i].End); err != nil {
			return err
		}
	}
	for _, ops := range [][]mvcc.Op{r.Then, r.Else} {
		for i := range ops {
			if err := p.op(&ops[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *permissions) op(o *mvcc.Op) error {
	switch {
	case o.Range != nil:
		return p.read(o.Range.Key, o.Range.End)
	case o.Put != nil:
		return p.put(o.Put)
	case o.Delete != nil:
		return p.delete(o.Delete)
	case o.Txn != nil:
		return p.txn(o.Txn)
	}
	return nil
}

// revoke checks the end of a lease, or its renewal, which touches the attached keys.
func (p *permissions) revoke(lease int64) error { return p.leaseKeys(lease, auth.Write) }

// leaseKeys checks the access to all keys that are attached to a lease.
func (p *permissions) leaseKeys(lease int64, access auth.Access) error {
	if p.state.Administer(p.who) == nil {
		return nil
	}
	if err := p.state.Known(p.who); err != nil {
		return err
	}
	for _, key := range p.leases.LeaseKeys(lease) {
		if err := p.state.Permit(p.who, key, "", access); err != nil {
			return err
		}
	}
	return nil
}
