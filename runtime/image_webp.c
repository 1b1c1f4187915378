// WebP by libwebp: lossy and lossless; of an animation the first frame.
#include "image_formats.h"

#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

bool image_is_webp(const unsigned char *p, size_t n) {
    return n >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0;
}

static bool first_frame(struct image_job *j) {
    WebPAnimDecoderOptions o;
    WebPData data = {j->data, j->size};
    if (!WebPAnimDecoderOptionsInit(&o)) return image_fail(j, "libwebp is of another version");
    o.color_mode = MODE_RGBA;
    WebPAnimDecoder *d = WebPAnimDecoderNew(&data, &o);
    uint8_t *rgba;
    int when;
    bool ok = d && WebPAnimDecoderGetNext(d, &rgba, &when);
    size_t n = (size_t)j->out->width * (size_t)j->out->height;
    for (size_t i = 0; ok && i < n; i++) memcpy(j->out->rgb + 3 * i, rgba + 4 * i, 3);
    WebPAnimDecoderDelete(d);
    return ok || image_fail(j, "its first frame is damaged or truncated");
}

static void read_exif(struct image_job *j) {
    WebPData data = {j->data, j->size};
    WebPDemuxer *d = WebPDemux(&data);
    WebPChunkIterator chunk;
    if (d && WebPDemuxGetChunk(d, "EXIF", 1, &chunk)) {
        j->orientation = image_exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
        WebPDemuxReleaseChunkIterator(&chunk);
    }
    WebPDemuxDelete(d);
}

bool image_webp(struct image_job *j) {
    WebPBitstreamFeatures f;
    if (WebPGetFeatures(j->data, j->size, &f) != VP8_STATUS_OK)
        return image_fail(j, "its header is damaged or truncated");
    if (!image_make(j, f.width, f.height)) return false;
    if (j->o->upright) read_exif(j);
    if (f.has_animation) return first_frame(j);
    size_t stride = (size_t)f.width * 3;
    return WebPDecodeRGBInto(j->data, j->size, j->out->rgb, stride * (size_t)f.height, (int)stride) ||
           image_fail(j, "it is damaged or truncated");
}
