//go:build ignore

// Descriptors writes the descriptions of the messages of etcd that Lock and Election refer
// to, for protoc. The descriptions come from the Go code of etcd's messages, so that no
// .proto files of other modules are needed.
package main

import (
	"log"
	"os"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// only returns the file of a message, without the file's other content.
func only(m protoreflect.MessageDescriptor) *descriptorpb.FileDescriptorProto {
	file := protodesc.ToFileDescriptorProto(m.ParentFile())
	return &descriptorpb.FileDescriptorProto{
		Name: file.Name, Package: file.Package, Syntax: file.Syntax,
		Options:     &descriptorpb.FileOptions{GoPackage: file.Options.GoPackage},
		MessageType: []*descriptorpb.DescriptorProto{protodesc.ToDescriptorProto(m)},
	}
}

func main() {
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		only((&mvccpb.KeyValue{}).ProtoReflect().Descriptor()), only((&pb.ResponseHeader{}).ProtoReflect().Descriptor()),
	}})
	if err == nil {
		err = os.WriteFile(os.Args[1], data, 0o600)
	}
	if err != nil {
		log.Fatal(err)
	}
}
