package mvcc

import "errors"

// Errors of requests. A request with an error changes nothing.
var (
	// ErrCompacted is the error of a request for a revision before the last
	// compaction, and of a compaction that was done already.
	ErrCompacted = errors.New("mvcc: the revision has been compacted")
	// ErrFutureRevision is the error of a request for a revision above the store's.
	ErrFutureRevision = errors.New("mvcc: the revision is a future revision")
	// ErrEmptyKey is the error of a request without a key.
	ErrEmptyKey = errors.New("mvcc: the key is empty")
	// ErrKeyNotFound is the error of a put that keeps the value or the lease of a key
	// that does not exist.
	ErrKeyNotFound = errors.New("mvcc: the key is not found")
	// ErrValueProvided is the error of a put that has a value and keeps the old one.
	ErrValueProvided = errors.New("mvcc: a value is provided, and IgnoreValue is set")
	// ErrLeaseProvided is the error of a put that has a lease and keeps the old one.
	ErrLeaseProvided = errors.New("mvcc: a lease is provided, and IgnoreLease is set")
	// ErrDuplicateKey is the error of a transaction that puts a key twice, or puts and
	// deletes a key.
	ErrDuplicateKey = errors.New("mvcc: the transaction changes a key twice")
	// ErrReadOnly is the error of a transaction with writes on a View.
	ErrReadOnly = errors.New("mvcc: a view takes no writes")
	// ErrInvalid is matched by the error of a request with an unknown kind, order or
	// target, and of an Op that has not exactly one request.
	ErrInvalid = errors.New("mvcc: the request is invalid")
	// ErrLeaseNotFound is the error of a request for a lease that was not granted, or
	// is revoked.
	ErrLeaseNotFound = errors.New("mvcc: the lease is not found")
	// ErrLeaseExists is the error of a grant under the id of another lease.
	ErrLeaseExists = errors.New("mvcc: the lease exists already")
	// ErrLeaseTTL is the error of a grant with a time to live outside of 1 and
	// MaxLeaseTTL.
	ErrLeaseTTL = errors.New("mvcc: the lease's time to live is out of range")
)

// MaxLeaseTTL is the longest time to live of a lease, in seconds.
const MaxLeaseTTL = 9_000_000_000

// FromKey, as the end of a range, stands for the end of all keys.
const FromKey = "\x00"

// PrefixEnd returns the end of the range of the keys that begin with prefix.
func PrefixEnd(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return FromKey
}

// KeyValue is one version of a key. A KeyValue never changes.
type KeyValue struct {
	Key   string
	Value string
	// CreateRevision is the revision of the put that created the key.
	CreateRevision int64
	// ModRevision is the revision of the change that wrote this version.
	ModRevision int64
	// Version counts the puts of the key since its creation, from 1.
	Version int64
	// Lease is the lease that the key is attached to, 0 for none.
	Lease int64
}

// Order is the order of the result of a range.
type Order uint8

// Orders of a range.
const (
	Unordered  Order = iota // ascending keys; for a Target other than ByKey the same as Ascending
	Ascending               // lowest first
	Descending              // highest first
)

// Target is the field that a range orders by.
type Target uint8

// Targets of a range. Keys with equal fields are in the order of the keys, in both orders
// of a range.
const (
	ByKey Target = iota
	ByVersion
	ByCreateRevision
	ByModRevision
	ByValue
)

// RangeRequest reads keys.
type RangeRequest struct {
	// Key is the first key.
	Key string
	// End is the key behind the last one. An empty End stands for the single Key, and
	// FromKey for all keys from Key on.
	End string
	// Limit bounds the number of keys in the result, 0 for no limit.
	Limit int64
	// Revision is the revision to read, 0 or less for the current one.
	Revision int64
	Order    Order
	Target   Target
	// KeysOnly leaves the values away.
	KeysOnly bool
	// CountOnly returns the count alone.
	CountOnly bool
	// The four bounds leave keys away whose version lies outside. 0 is no bound.
	MinModRevision, MaxModRevision       int64
	MinCreateRevision, MaxCreateRevision int64
	// Serializable allows a read of local state that may be stale. A View ignores
	// Serializable, which is here for the server in front of the View.
	Serializable bool
}

// RangeResult is the result of a range.
type RangeResult struct {
	// Revision is the current revision, whatever revision was read.
	Revision int64
	KVs      []*KeyValue
	// More reports that Limit has cut the result.
	More bool
	// Count is the number of keys in the range, regardless of the limit and of the
	// four bounds.
	Count int64
}

// PutRequest writes a key.
type PutRequest struct {
	Key   string
	Value string
	// Lease attaches the key to a lease, and 0 to none.
	Lease int64
	// PrevKV asks for the version before the put.
	PrevKV bool
	// IgnoreValue keeps the value of the key, and IgnoreLease the lease. The key must
	// exist.
	IgnoreValue, IgnoreLease bool
}

// PutResult is the result of a put.
type PutResult struct {
	Revision int64
	Prev     *KeyValue // the version before, if asked for and there was one
}

// DeleteRequest deletes the keys of a range.
type DeleteRequest struct {
	Key, End string // as in RangeRequest
	// PrevKV asks for the deleted versions.
	PrevKV bool
}

// DeleteResult is the result of a deletion.
type DeleteResult struct {
	Revision int64
	Deleted  int64       // number of deleted keys
	Prev     []*KeyValue // the deleted versions, if asked for
}

// Field is what a comparison looks at.
type Field uint8

// Fields of a comparison.
const (
	FieldVersion Field = iota
	FieldCreateRevision
	FieldModRevision
	FieldValue
	FieldLease
)

// Relation is how a comparison compares.
type Relation uint8

// Relations of a comparison.
const (
	Equal Relation = iota
	Greater
	Less
	NotEqual
)

// Compare is a condition of a transaction on each key of a range. A range without a
// key is compared as one key with all fields 0, except that a comparison of the value
// does not hold.
type Compare struct {
	Key, End string // as in RangeRequest
	Field    Field
	Relation Relation
	Number   int64  // what any field but the value is compared with
	Value    string // what the value is compared with
}

// Op is an operation of a transaction. Exactly one field is set.
type Op struct {
	Range  *RangeRequest
	Put    *PutRequest
	Delete *DeleteRequest
	Txn    *TxnRequest
}

// TxnRequest is a transaction. If all comparisons hold, the operations of Then are
// executed in order, otherwise those of Else. All comparisons, also those of nested
// transactions, look at the state before the first operation. Ranges with Revision 0
// see the operations before them.
type TxnRequest struct {
	Compares   []Compare
	Then, Else []Op
}

// OpResult is the result of an Op. The field of the Op's request is set.
type OpResult struct {
	Range  *RangeResult
	Put    *PutResult
	Delete *DeleteResult
	Txn    *TxnResult
}

// TxnResult is the result of a transaction.
type TxnResult struct {
	Revision  int64 // in the result of a nested transaction 0
	Succeeded bool  // all comparisons held
	Results   []OpResult
}

// Lease is a granted lease.
type Lease struct {
	ID int64
	// TTL is the time to live that was granted, in seconds.
	TTL int64
	// Remaining is the time left as of the last checkpoint, in seconds, 0 for the
	// whole TTL.
	Remaining int64
}
