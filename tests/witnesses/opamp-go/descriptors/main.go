// Command descriptors prints opamp-go's own description of the protocol as a
// serialized google.protobuf.FileDescriptorSet, for comparison with ours.
package main

import (
	"log"
	"os"

	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	set, err := proto.MarshalOptions{Deterministic: true}.Marshal(descriptors())
	if err != nil {
		log.Fatalf("encode the descriptors: %v", err)
	}
	if _, err := os.Stdout.Write(set); err != nil {
		log.Fatalf("write the descriptors: %v", err)
	}
}

// descriptors holds the imported file before the one that imports it, as decoders expect.
func descriptors() *descriptorpb.FileDescriptorSet {
	return &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(protobufs.File_anyvalue_proto),
		protodesc.ToFileDescriptorProto(protobufs.File_opamp_proto),
	}}
}
